// Batch norm, ReLU and, if POOL, 2x2 max-pool of one task's maps in one operation; its first and second derivative.
//
//   s = (z - mean) * rstd,   y = max(0, max over the window of scale * s + shift)
//
// Mean and 1/deviation come from the leading `own` rows of z: all rows, those of the support set, or none, and then
// they are given. `winners` keeps which pixel of the window became the output, DEAD where the ReLU cut it off.
// Maps [n][H][W][C] and [n][h][w][C], one number per channel [C], C a multiple of LINE<S>.
// Each cache line of channels is done for all pixels before the next: its sums stay in registers. They are closed after
// every band of pixels, so that rounding stays small on maps of any size.
#pragma once
#include <algorithm>
#include <cmath>

#include "vectors.hpp"

namespace fphi {

constexpr int DEAD = 4;
constexpr int E = 64 / VECTOR_BYTES;  // vectors of a cache line
template <class S> constexpr int LINE = 64 / int(sizeof(S));
#define EACH_VECTOR _Pragma("GCC unroll 4") for (int e = 0; e < E; e++)

template <class S> struct Channels {  // a number for each channel of a line
  Vec<S> v[E];
  static Channels zero() { return Channels{}; }
  static Channels at(const S *p) {
    Channels a;
    EACH_VECTOR a.v[e] = load(p + e * LANES<S>);
    return a;
  }
  void to(S *p) const { EACH_VECTOR store(p + e * LANES<S>, v[e]); }
  void operator+=(const Channels &b) { EACH_VECTOR v[e] += b.v[e]; }
};
#define CHANNELS(name, expression) \
  Channels<S> name; \
  EACH_VECTOR name.v[e] = (expression)

struct Maps {
  Int n, H, W, C;
  Int window;  // 2 or 1
  Int h() const { return H / window; }
  Int w() const { return W / window; }
  Int pixels() const { return n * H * W; }
  Int outputs() const { return n * h() * w(); }
  bool covered() const { return H % window == 0 && W % window == 0; }  // every pixel lies in a window
};

// The window's pixels of a map.
template <class S, bool POOL> struct Window {
  Vec<S> a, b, c, d;
  Window(const S *z, const Maps &m) : a(in_register(load(z))) {
    if constexpr (POOL) {
      b = in_register(load(z + m.C)), c = in_register(load(z + m.W * m.C));
      d = in_register(load(z + (m.W + 1) * m.C));
    }
  }
  Vec<S> winner(Lane<S> which) const {
    if constexpr (POOL) return choose<S>(which, a, b, c, d);
    return a;
  }
  // f of each pixel, with `gain` added at the winner.
  template <class F> static void write(S *z, const Maps &m, Lane<S> which, Vec<S> gain, const F &f) {
    store(z, f(0) + where<S>(which, 0, gain));
    if constexpr (POOL) {
      store(z + m.C, f(1) + where<S>(which, 1, gain)), store(z + m.W * m.C, f(2) + where<S>(which, 2, gain));
      store(z + (m.W + 1) * m.C, f(3) + where<S>(which, 3, gain));
    }
  }
  Vec<S> pixel(int i) const {
    if constexpr (POOL) return i == 0 ? a : i == 1 ? b : i == 2 ? c : d;
    return a;
  }
};

// f(offset of the window's first pixel, offset of the output) for the windows of one image, in its rows `first` to `last`
// of windows, or in all of them.
template <bool POOL, class F> inline void each_window(const Maps &m, Int image, Int first, Int last, const F &f) {
  constexpr int side = POOL ? 2 : 1;
  const Int h = m.H / side, w = m.W / side;
  for (Int y = first; y < last; y++)
    for (Int x = 0; x < w; x++)
      f(((image * m.H + side * y) * m.W + side * x) * m.C, ((image * h + y) * w + x) * m.C);
}
template <bool POOL, class F> inline void each_window(const Maps &m, Int image, const F &f) {
  each_window<POOL>(m, image, 0, m.h(), f);
}

// f(first, last) for bands of rows, each of BAND columns or, where a row has more, of one row.
constexpr Int BAND = 64;
template <class F> inline void each_band(Int rows, Int columns, const F &f) {
  const Int height = std::max(BAND / columns, Int(1));
  for (Int y = 0; y < rows; y += height) f(y, std::min(y + height, rows));
}

// The sum of what bands add up to. Two levels: errors grow with the root of how many numbers one variable takes up.
template <class A> class Sum {
  A group{}, all{};
  Int parts = 0;

 public:
  void operator+=(const A &part) {
    group += part;
    if (++parts % BAND == 0) all += group, group = A{};
  }
  A value() const {
    A sum = all;
    sum += group;
    return sum;
  }
};

// The sum of f(offset of a vector) over the pixels of the leading images.
template <class S, class F> inline Channels<S> sum_of(const Maps &m, Int images, Int c, const F &f) {
  Sum<Channels<S>> sum;
  for (Int i = 0; i < images; i++)
    each_band(m.H * m.W, 1, [&](Int first, Int last) {
      Channels<S> part = Channels<S>::zero();
      for (Int p = i * m.H * m.W + first; p < i * m.H * m.W + last; p++)
        EACH_VECTOR part.v[e] += f(p * m.C + c + e * LANES<S>, e);
      sum += part;
    });
  return sum.value();
}

template <class S> void moments(const S *z, S *mean, S *rstd, const Maps &m, Int own, S eps) {
  const S share = S(1) / S(own * m.H * m.W);
  for (Int c = 0; c < m.C; c += LINE<S>) {
    Channels<S> mu = sum_of<S>(m, own, c, [&](Int p, int) { return load(z + p); });
    EACH_VECTOR mu.v[e] *= share;
    Channels<S> squares = sum_of<S>(m, own, c, [&](Int p, int e) {
      Vec<S> off = load(z + p) - mu.v[e];
      return off * off;
    });
    mu.to(mean + c);
    EACH_VECTOR for (int l = 0; l < LANES<S>; l++)
      rstd[c + e * LANES<S> + l] = S(1) / std::sqrt(squares.v[e][l] * share + eps);
  }
}

template <class S, bool POOL>
void forward(const S *z, const S *scale, const S *shift, const S *mean, const S *rstd, S *y, uint8_t *winners,
             const Maps &m) {
  for (Int c = 0; c < m.C; c += LINE<S>) {
    CHANNELS(gain, load(scale + c + e * LANES<S>) * load(rstd + c + e * LANES<S>));
    CHANNELS(base, load(shift + c + e * LANES<S>) - load(mean + c + e * LANES<S>) * gain.v[e]);
    for (Int i = 0; i < m.n; i++)
      each_window<POOL>(m, i, [&](Int from, Int to) {
        EACH_VECTOR {
          const Int l = c + e * LANES<S>;
          Window<S, POOL> p(z + from + l, m);
          Vec<S> best = p.a * gain.v[e] + base.v[e];
          Lane<S> which{};
          if constexpr (POOL) {
            Vec<S> b = p.b * gain.v[e] + base.v[e], q = p.c * gain.v[e] + base.v[e], d = p.d * gain.v[e] + base.v[e];
            which = (b > best) ? which + 1 : which, best = (b > best) ? b : best;
            which = (q > best) ? Lane<S>{} + 2 : which, best = (q > best) ? q : best;
            which = (d > best) ? Lane<S>{} + 3 : which, best = (d > best) ? d : best;
          }
          // Written so that what is not a number stays one.
          which = (best <= S(0)) ? Lane<S>{} + DEAD : which, best = (best <= S(0)) ? Vec<S>{} : best;
          store(y + to + l, best), store_bytes<S>(winners + to + l, which);
        }
      });
  }
}

// The gradients by z, scale and shift, given g, that by y.
template <class S, bool POOL>
void backward(const S *g, const S *z, const S *scale, const S *mean, const S *rstd, const uint8_t *winners, S *to_z,
              S *to_scale, S *to_shift, const Maps &m, Int own) {
  const S share = own ? S(1) / S(own * m.H * m.W) : S(0);
  for (Int c = 0; c < m.C; c += LINE<S>) {
    CHANNELS(mu, load(mean + c + e * LANES<S>));
    CHANNELS(r, load(rstd + c + e * LANES<S>));
    Sum<Channels<S>> of_g, of_gs;
    for (Int i = 0; i < m.n; i++)
      each_band(m.h(), m.w(), [&](Int first, Int last) {
        Channels<S> sum = Channels<S>::zero(), along = sum;
        each_window<POOL>(m, i, first, last, [&](Int from, Int to) {
          EACH_VECTOR {
            const Int l = c + e * LANES<S>;
            Lane<S> which = load_bytes<S>(winners + to + l);
            Vec<S> alive = (which < DEAD) ? in_register(load(g + to + l)) : Vec<S>{};
            sum.v[e] += alive;
            along.v[e] += alive * (Window<S, POOL>(z + from + l, m).winner(which) - mu.v[e]);
          }
        });
        of_g += sum, of_gs += along;
      });
    Channels<S> sum = of_g.value(), along = of_gs.value();
    EACH_VECTOR along.v[e] *= r.v[e];
    along.to(to_scale + c), sum.to(to_shift + c);
    CHANNELS(k, load(scale + c + e * LANES<S>) * r.v[e]);
    CHANNELS(slope, -k.v[e] * along.v[e] * share * r.v[e]);
    CHANNELS(level, -k.v[e] * sum.v[e] * share - slope.v[e] * mu.v[e]);
    for (Int i = 0; i < m.n; i++) {
      CHANNELS(k1, i < own ? slope.v[e] : Vec<S>{});
      CHANNELS(k0, i < own ? level.v[e] : Vec<S>{});
      if (!m.covered())
        for (Int p = i * m.H * m.W; p < (i + 1) * m.H * m.W; p++) EACH_VECTOR {
            const Int l = p * m.C + c + e * LANES<S>;
            store(to_z + l, k0.v[e] + k1.v[e] * load(z + l));
          }
      each_window<POOL>(m, i, [&](Int from, Int to) {
        EACH_VECTOR {
          const Int l = c + e * LANES<S>;
          Window<S, POOL> p(z + from + l, m);
          Vec<S> gain = in_register(k.v[e] * load(g + to + l));
          Window<S, POOL>::write(to_z + from + l, m, load_bytes<S>(winners + to + l), gain,
                                 [&](int i) { return k0.v[e] + k1.v[e] * p.pixel(i); });
        }
      });
    }
  }
}

// The derivative of `backward`: given v, a, b, the gradients by its three outcomes, those by g, z and scale.
//
// With L = sum of v * to_z + a * to_scale + b * to_shift, and sums over the own rows written as sv, svs (of v, v * s),
// over all outputs as sg, sgs, svg (of g, g * s, v * g), share = 1 / count:
//   L = scale * r * D + a * sgs + b * sg,   D = svg - share * (sv * sg + svs * sgs)
// and the gradients follow by the chain rule through s, mean and r.
template <class S, bool POOL>
void backward_twice(const S *v, const S *a, const S *b, const S *g, const S *z, const S *scale, const S *mean,
                    const S *rstd, const uint8_t *winners, S *to_g, S *to_z, S *to_scale, const Maps &m, Int own) {
  const S share = own ? S(1) / S(own * m.H * m.W) : S(0);
  for (Int c = 0; c < m.C; c += LINE<S>) {
    CHANNELS(mu, load(mean + c + e * LANES<S>));
    CHANNELS(r, load(rstd + c + e * LANES<S>));
    Sum<Channels<S>> of_v, of_vs, of_g, of_gs, of_vg;
    for (Int i = 0; i < m.n; i++) {
      if (i < own)
        each_band(m.H * m.W, 1, [&](Int first, Int last) {
          Channels<S> part_v = Channels<S>::zero(), part_vs = part_v;
          for (Int p = i * m.H * m.W + first; p < i * m.H * m.W + last; p++) EACH_VECTOR {
              const Int l = p * m.C + c + e * LANES<S>;
              Vec<S> own_v = load(v + l);
              part_v.v[e] += own_v, part_vs.v[e] += own_v * (load(z + l) - mu.v[e]);
            }
          of_v += part_v, of_vs += part_vs;
        });
      each_band(m.h(), m.w(), [&](Int first, Int last) {
        Channels<S> part_g = Channels<S>::zero(), part_gs = part_g, part_vg = part_g;
        each_window<POOL>(m, i, first, last, [&](Int from, Int to) {
          EACH_VECTOR {
            const Int l = c + e * LANES<S>;
            Lane<S> which = load_bytes<S>(winners + to + l);
            Vec<S> alive = (which < DEAD) ? in_register(load(g + to + l)) : Vec<S>{};
            part_g.v[e] += alive;
            part_gs.v[e] += alive * (Window<S, POOL>(z + from + l, m).winner(which) - mu.v[e]);
            part_vg.v[e] += alive * Window<S, POOL>(v + from + l, m).winner(which);
          }
        });
        of_g += part_g, of_gs += part_gs, of_vg += part_vg;
      });
    }
    Channels<S> sv = of_v.value(), svs = of_vs.value(), sg = of_g.value(), sgs = of_gs.value(), svg = of_vg.value();
    CHANNELS(k, load(scale + c + e * LANES<S>) * r.v[e]);
    Channels<S> at_v, at_g, at_z, at_one, g_v, g_z, g_one;
    EACH_VECTOR {
      Vec<S> A = load(a + c + e * LANES<S>), B = load(b + c + e * LANES<S>);
      svs.v[e] *= r.v[e], sgs.v[e] *= r.v[e];
      Vec<S> D = svg.v[e] - (sv.v[e] * sg.v[e] + svs.v[e] * sgs.v[e]) * share;
      store(to_scale + c + e * LANES<S>, r.v[e] * D);
      Vec<S> hv = -k.v[e] * share * sgs.v[e], hg = A - k.v[e] * share * svs.v[e];
      Vec<S> mean_h = (hv * sv.v[e] + hg * sg.v[e]) * share, mean_hs = (hv * svs.v[e] + hg * sgs.v[e]) * share;
      at_v.v[e] = r.v[e] * hv, at_g.v[e] = r.v[e] * hg;
      at_z.v[e] = -(r.v[e] * mean_hs + k.v[e] * D * r.v[e] * share) * r.v[e];
      at_one.v[e] = -r.v[e] * mean_h - at_z.v[e] * mu.v[e];
      g_v.v[e] = k.v[e], g_z.v[e] = (A - k.v[e] * svs.v[e] * share) * r.v[e];
      g_one.v[e] = B - k.v[e] * sv.v[e] * share - g_z.v[e] * mu.v[e];
    }
    for (Int i = 0; i < m.n; i++) {
      CHANNELS(kv, i < own ? at_v.v[e] : Vec<S>{});
      CHANNELS(kz, i < own ? at_z.v[e] : Vec<S>{});
      CHANNELS(k1, i < own ? at_one.v[e] : Vec<S>{});
      if (!m.covered())
        for (Int p = i * m.H * m.W; p < (i + 1) * m.H * m.W; p++) EACH_VECTOR {
            const Int l = p * m.C + c + e * LANES<S>;
            store(to_z + l, k1.v[e] + kz.v[e] * load(z + l) + kv.v[e] * load(v + l));
          }
      each_window<POOL>(m, i, [&](Int from, Int to) {
        EACH_VECTOR {
          const Int l = c + e * LANES<S>;
          Window<S, POOL> p(z + from + l, m), u(v + from + l, m);
          Lane<S> which = load_bytes<S>(winners + to + l);
          Vec<S> gain = in_register(at_g.v[e] * load(g + to + l));
          Window<S, POOL>::write(to_z + from + l, m, which, gain,
                                 [&](int i) { return k1.v[e] + kz.v[e] * p.pixel(i) + kv.v[e] * u.pixel(i); });
          Vec<S> back = g_v.v[e] * u.winner(which) + g_z.v[e] * p.winner(which) + g_one.v[e];
          store(to_g + to + l, (which < DEAD) ? back : Vec<S>{});
        }
      });
    }
  }
}

}  // namespace fphi
