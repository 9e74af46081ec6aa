// The C interface: each function does T tasks, one after another; `s` is f (float) or d (double). It returns 0, or 1
// where memory ran out.
//
// Filters [T][O][C][3][3] as torch has them; `shared` says that one filter serves all tasks, and its gradient is summed.
// A second pair (X2, w2), or none (null), is computed in the same pass.
#include "first_layer.hpp"
#include "norm_pool.hpp"
#include "patches.hpp"
#include "threads.hpp"
#include "winograd.hpp"

using namespace fphi;

namespace {

// turned: X is the outcome's gradient, [.][O], and Y that by the map, [.][C]; H and W are X's.
template <class S>
void all_convolve(const S *X, const S *w, const S *X2, const S *w2, S *Y, Int T, bool shared, Int n, Int H, Int W, Int C,
                  Int O, Int padding, bool turned, Int threads) {
  const Int from = turned ? O : C, to = turned ? C : O, pad = turned ? 2 - padding : padding;
  const Int maps = n * H * W * from, outcomes = n * (H + 2 * pad - 2) * (W + 2 * pad - 2) * to, filter = 9 * C * O;
  const auto transformed = [&](const S *w, int slot) -> S * {
    if (!w) return nullptr;
    S *U = scratch<S>(slot, 16 * place_of<S>(C * O));
    (turned ? turned_filters_in<S> : filters_in<S>)(w, U, C, O);
    return U;
  };
  const S *one = shared ? transformed(w, 0) : nullptr, *two = shared ? transformed(w2, 1) : nullptr;
  spread(T, threads, [&](Int t) {
    const S *U = shared ? one : transformed(w + t * filter, 0);
    const S *U2 = shared || !X2 ? two : transformed(w2 + t * filter, 1);
    convolve(X + t * maps, U, X2 ? X2 + t * maps : X2, U2, Y + t * outcomes, n, H, W, from, to, pad);
  });
}

// Tasks that share a filter are summed up in so many groups, however many threads there are: the same bits.
constexpr Int GROUPS = 8;

// Of each task or, where they share one filter, of all together: `sum(D, t, add)` adds what task t has to D [count], and
// `write(D, gradient)` makes the gradient [9 * C * O] of it.
template <class S, class Sum, class Write>
void all_sums(S *gradient, Int T, bool shared, Int count, Int filter, Int threads, const Sum &sum, const Write &write) {
  if (!shared)
    return spread(T, threads, [&](Int t) {
      S *D = scratch<S>(0, count);
      sum(D, t, false), write(D, gradient + t * filter);
    });
  const Int groups = std::min(T, GROUPS);
  S *D = scratch<S>(0, groups * count);
  spread(groups, threads, [&](Int i) {
    for (Int t = i * T / groups; t < (i + 1) * T / groups; t++) sum(D + i * count, t, t > i * T / groups);
  });
  for (Int i = 1; i < groups; i++)
    for (Int j = 0; j < count; j++) D[j] += D[i * count + j];
  write(D, gradient);
}

template <class S>
void all_correlate(const S *X, const S *G, const S *X2, const S *G2, S *gradient, Int T, bool shared, Int n, Int H, Int W,
                   Int C, Int O, Int padding, Int threads) {
  const Int maps = n * H * W * C, outcomes = n * (H + 2 * padding - 2) * (W + 2 * padding - 2) * O;
  const auto sum = [&](S *D, Int t, bool add) {
    correlate(X + t * maps, G + t * outcomes, D, add, n, H, W, C, O, padding);
    if (X2) correlate(X2 + t * maps, G2 + t * outcomes, D, true, n, H, W, C, O, padding);
  };
  all_sums(gradient, T, shared, 16 * place_of<S>(C * O), 9 * C * O, threads, sum, [&](S *D, S *to) { filters_out(D, to, C, O); });
}

template <class S>
void all_patch_convolve(const S *X, const S *w, const S *X2, const S *w2, S *Y, Int T, bool shared, const Shape &shape,
                        Int threads) {
  const Int maps = shape.n * shape.H * shape.W * shape.C, outcomes = shape.pixels() * shape.O;
  const Int filter = shared ? 0 : 9 * shape.C * shape.O;
  spread(T, threads, [&](Int t) {
    patch_convolve(X + t * maps, w + t * filter, Y + t * outcomes, false, shape);
    if (X2) patch_convolve(X2 + t * maps, w2 + t * filter, Y + t * outcomes, true, shape);
  });
}

template <class S>
void all_patch_gradient(const S *G, const S *w, const S *G2, const S *w2, S *X, Int T, bool shared, const Shape &shape,
                        Int threads) {
  const Int maps = shape.n * shape.H * shape.W * shape.C, outcomes = shape.pixels() * shape.O;
  const Int filter = shared ? 0 : 9 * shape.C * shape.O;
  spread(T, threads, [&](Int t) {
    patch_gradient(G + t * outcomes, w + t * filter, X + t * maps, false, shape);
    if (G2) patch_gradient(G2 + t * outcomes, w2 + t * filter, X + t * maps, true, shape);
  });
}

template <class S>
void all_patch_correlate(const S *X, const S *G, const S *X2, const S *G2, S *gradient, Int T, bool shared,
                         const Shape &shape, Int threads) {
  const Int maps = shape.n * shape.H * shape.W * shape.C, outcomes = shape.pixels() * shape.O;
  const Int filter = 9 * shape.C * shape.O;
  const auto sum = [&](S *D, Int t, bool add) {
    patch_correlate(X + t * maps, G + t * outcomes, D, add, shape);
    if (X2) patch_correlate(X2 + t * maps, G2 + t * outcomes, D, true, shape);
  };
  const auto write = [&](S *D, S *to) { rows_to_filter(D, to, shape.C, shape.O); };
  all_sums(gradient, T, shared, filter, filter, threads, sum, write);
}

template <class S>
void all_forward(const S *z, const S *scale, const S *shift, S *mean, S *rstd, S *y, uint8_t *winners, Int T, Maps m,
                 Int own, double eps, Int threads) {
  spread(T, threads, [&](Int t) {
    const Int from = t * m.pixels() * m.C, to = t * m.outputs() * m.C, c = t * m.C;
    if (own) moments(z + from, mean + c, rstd + c, m, own, S(eps));
    (m.window == 2 ? forward<S, true> : forward<S, false>)(z + from, scale + c, shift + c, mean + c, rstd + c, y + to,
                                                           winners + to, m);
  });
}

template <class S>
void all_backward(const S *g, const S *z, const S *scale, const S *mean, const S *rstd, const uint8_t *winners, S *to_z,
                  S *to_scale, S *to_shift, Int T, Maps m, Int own, Int threads) {
  spread(T, threads, [&](Int t) {
    const Int from = t * m.pixels() * m.C, to = t * m.outputs() * m.C, c = t * m.C;
    (m.window == 2 ? backward<S, true> : backward<S, false>)(g + to, z + from, scale + c, mean + c, rstd + c,
                                                             winners + to, to_z + from, to_scale + c, to_shift + c, m,
                                                             own);
  });
}

template <class S>
void all_backward_twice(const S *v, const S *a, const S *b, const S *g, const S *z, const S *scale, const S *mean,
                        const S *rstd, const uint8_t *winners, S *to_g, S *to_z, S *to_scale, Int T, Maps m, Int own,
                        Int threads) {
  spread(T, threads, [&](Int t) {
    const Int from = t * m.pixels() * m.C, to = t * m.outputs() * m.C, c = t * m.C;
    (m.window == 2 ? backward_twice<S, true> : backward_twice<S, false>)(
        v + from, a + c, b + c, g + to, z + from, scale + c, mean + c, rstd + c, winners + to, to_g + to, to_z + from,
        to_scale + c, m, own);
  });
}

// Of the first layer, on P = 1 (grey) or 3 planes (colours).
struct First {
  Int n, P, H, W, C;
  Int inputs() const { return n * P * (H + 2) * (W + 2); }
  Int filter() const { return (1 + 9 * P) * C; }
  Int outputs() const { return n * (H / 2) * (W / 2) * C; }
};

template <class S>
void all_patch_moments(const S *x, S *mean, S *covariance, Int T, Int n, Int P, Int H, Int W, Int own,
                       Int threads) {
  const Int image = P * (H + 2) * (W + 2), K = 9 * P;
  spread(T, threads, [&](Int t) { patch_moments(x + t * n * image, mean + t * K, covariance + t * K * K, own, P, H, W); });
}

template <class S> void all_first_forward(const S *x, const S *u, S *y, uint8_t *winners, Int T, First m, Int threads) {
  spread(T, threads, [&](Int t) {
    (m.P == 3 ? first_forward<S, 3> : first_forward<S, 1>)(x + t * m.inputs(), u + t * m.filter(), y + t * m.outputs(),
                                                           winners + t * m.outputs(), m.n, m.H, m.W, m.C);
  });
}

template <class S> void all_first_apply(const S *x, const S *u, const uint8_t *winners, S *y, Int T, First m, Int threads) {
  spread(T, threads, [&](Int t) {
    (m.P == 3 ? first_apply<S, 3> : first_apply<S, 1>)(x + t * m.inputs(), u + t * m.filter(), winners + t * m.outputs(),
                                                       y + t * m.outputs(), m.n, m.H, m.W, m.C);
  });
}

template <class S> void all_first_gradient(const S *x, const S *g, const uint8_t *winners, S *u, Int T, First m, Int threads) {
  spread(T, threads, [&](Int t) {
    (m.P == 3 ? first_gradient<S, 3> : first_gradient<S, 1>)(x + t * m.inputs(), g + t * m.outputs(),
                                                             winners + t * m.outputs(), u + t * m.filter(), m.n, m.H, m.W,
                                                             m.C);
  });
}

// 0, or 1 where there is no memory for what it keeps meanwhile: C knows no exceptions, they would end the process.
template <class F> int guarded(F work) {
  try {
    work();
  } catch (...) {
    return 1;
  }
  return 0;
}

}  // namespace

#define SHAPE Shape(n, H, W, C, O, stride, padding)
#define MAPS Maps{n, H, W, C, window}
#define INTERFACE(S, s) \
  extern "C" { \
  int convolve_##s(const S *X, const S *w, const S *X2, const S *w2, S *Y, Int T, Int shared, Int n, Int H, Int W, Int C, \
                   Int O, Int padding, Int turned, Int threads) { \
    return guarded([&] { all_convolve(X, w, X2, w2, Y, T, shared, n, H, W, C, O, padding, turned, threads); }); \
  } \
  int correlate_##s(const S *X, const S *G, const S *X2, const S *G2, S *D, Int T, Int shared, Int n, Int H, Int W, Int C, \
                    Int O, Int padding, Int threads) { \
    return guarded([&] { all_correlate(X, G, X2, G2, D, T, shared, n, H, W, C, O, padding, threads); }); \
  } \
  int patch_convolve_##s(const S *X, const S *w, const S *X2, const S *w2, S *Y, Int T, Int shared, Int n, Int H, Int W, \
                         Int C, Int O, Int stride, Int padding, Int threads) { \
    return guarded([&] { all_patch_convolve(X, w, X2, w2, Y, T, shared, SHAPE, threads); }); \
  } \
  int patch_gradient_##s(const S *G, const S *w, const S *G2, const S *w2, S *X, Int T, Int shared, Int n, Int H, Int W, \
                         Int C, Int O, Int stride, Int padding, Int threads) { \
    return guarded([&] { all_patch_gradient(G, w, G2, w2, X, T, shared, SHAPE, threads); }); \
  } \
  int patch_correlate_##s(const S *X, const S *G, const S *X2, const S *G2, S *D, Int T, Int shared, Int n, Int H, Int W, \
                          Int C, Int O, Int stride, Int padding, Int threads) { \
    return guarded([&] { all_patch_correlate(X, G, X2, G2, D, T, shared, SHAPE, threads); }); \
  } \
  int norm_forward_##s(const S *z, const S *scale, const S *shift, S *mean, S *rstd, S *y, uint8_t *winners, Int T, \
                       Int n, Int H, Int W, Int C, Int window, Int own, double eps, Int threads) { \
    return guarded([&] { all_forward(z, scale, shift, mean, rstd, y, winners, T, MAPS, own, eps, threads); }); \
  } \
  int norm_backward_##s(const S *g, const S *z, const S *scale, const S *mean, const S *rstd, const uint8_t *winners, \
                        S *to_z, S *to_scale, S *to_shift, Int T, Int n, Int H, Int W, Int C, Int window, Int own, Int threads) { \
    return guarded([&] { all_backward(g, z, scale, mean, rstd, winners, to_z, to_scale, to_shift, T, MAPS, own, threads); }); \
  } \
  int norm_backward_twice_##s(const S *v, const S *a, const S *b, const S *g, const S *z, const S *scale, const S *mean, \
                              const S *rstd, const uint8_t *winners, S *to_g, S *to_z, S *to_scale, Int T, Int n, Int H, \
                              Int W, Int C, Int window, Int own, Int threads) { \
    return guarded([&] { \
      all_backward_twice(v, a, b, g, z, scale, mean, rstd, winners, to_g, to_z, to_scale, T, MAPS, own, threads); \
    }); \
  } \
  int patch_moments_##s(const S *x, S *mean, S *covariance, Int T, Int n, Int P, Int H, Int W, Int own, Int threads) { \
    return guarded([&] { all_patch_moments(x, mean, covariance, T, n, P, H, W, own, threads); }); \
  } \
  int first_forward_##s(const S *x, const S *u, S *y, uint8_t *winners, Int T, Int n, Int P, Int H, Int W, Int C, Int threads) { \
    return guarded([&] { all_first_forward(x, u, y, winners, T, First{n, P, H, W, C}, threads); }); \
  } \
  int first_apply_##s(const S *x, const S *u, const uint8_t *winners, S *y, Int T, Int n, Int P, Int H, Int W, Int C, Int threads) { \
    return guarded([&] { all_first_apply(x, u, winners, y, T, First{n, P, H, W, C}, threads); }); \
  } \
  int first_gradient_##s(const S *x, const S *g, const uint8_t *winners, S *u, Int T, Int n, Int P, Int H, Int W, \
                         Int C, Int threads) { \
    return guarded([&] { all_first_gradient(x, g, winners, u, T, First{n, P, H, W, C}, threads); }); \
  } \
  }

INTERFACE(float, f)
INTERFACE(double, d)

// What this was compiled from, which the caller compares: see fingerprint.py.
#ifndef FPHI_FINGERPRINT
#define FPHI_FINGERPRINT unknown
#endif
#define IN_QUOTES(word) #word
#define QUOTED(word) IN_QUOTES(word)
extern "C" const char *fphi_fingerprint() { return QUOTED(FPHI_FINGERPRINT); }
