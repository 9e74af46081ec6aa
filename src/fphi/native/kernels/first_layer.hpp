// The first layer of a network on data, whole: 3x3 convolution of P planes (grey or colours), batch norm, ReLU, 2x2
// max-pool.
//
// The batch statistics of the convolution follow from those of the image patches, so scale and shift are known
// beforehand, and with a filter that has them multiplied in, u [1 + 9 P][C] (the shift, then nine taps of each plane),
// the layer is
//   y = max(0, max over the window's 4 pixels of u_0 + sum over k of u_k x[pixel + k])
// It is linear in u where the winners are: `first_apply` is that linear map, `first_gradient` its transpose, and every
// derivative is one of the two. No map of the convolution's size is ever written.
// x: padded by one pixel, [n][P][H + 2][W + 2]; y [n][H / 2][W / 2][C].
#pragma once
#include "norm_pool.hpp"

namespace fphi {

// Sums over the H x W pixels from `a` and `b` in padded planes: of a[i] b[i + j] for the three taps j of a row, and of
// a[i]. Reads up to two vectors beyond the last pixel.
template <class S> struct PixelSums {
  S products[3] = {}, alone = 0;
  PixelSums(const S *a, const S *b, Int H, Int W) {
    constexpr int L = LANES<S>;
    Vec<S> product[3] = {}, single{};
    Lane<S> number;
    for (int l = 0; l < L; l++) number[l] = l;
    const Lane<S> inside = number < Lane<S>{} + int(W % L);  // where a row's last vector is within the row
    each_band(H, (W + L - 1) / L, [&](Int first, Int last) {
      const S *p = a + first * (W + 2), *q = b + first * (W + 2);
      Vec<S> part[3] = {}, part_alone{};
      for (Int y = first; y < last; y++, p += W + 2, q += W + 2)
        for (Int c = 0; c < W; c += L) {
          Vec<S> own = in_register(load(p + c));
          if (c + L > W) own = inside ? own : Vec<S>{};
          part_alone += own;
          for (int j = 0; j < 3; j++) part[j] += own * load(q + c + j);
        }
      single += part_alone;
      for (int j = 0; j < 3; j++) product[j] += part[j];
    });
    for (int l = 0; l < L; l++) {
      alone += single[l];
      for (int j = 0; j < 3; j++) products[j] += product[j][l];
    }
  }
};

// The taps' mean [K] and covariance [K][K], K = 9 P, over the patches of `own` images.
template <class S> void patch_moments(const S *x, S *mean, S *covariance, Int own, Int P, Int H, Int W) {
  const Int K = 9 * P, padded = (H + 2) * (W + 2), count = own * H * W;
  std::vector<double> centre(P), sums(K), squares(K * K);
  for (Int i = 0; i < own; i++)
    for (Int p = 0; p < P; p++) {
      S sum = 0;
      for (Int j = 0; j < padded; j++) sum += x[(i * P + p) * padded + j];
      centre[p] += double(sum) / double(own * padded);  // near the mean: squares lose no figures to it
    }
  S *image = scratch<S>(2, P * padded + 2 * LANES<S>);
  std::fill_n(image, P * padded + 2 * LANES<S>, S(0));
  for (Int i = 0; i < own; i++) {
    for (Int p = 0; p < P; p++)
      for (Int j = 0; j < padded; j++) image[p * padded + j] = x[(i * P + p) * padded + j] - S(centre[p]);
    for (Int k = 0; k < K; k++)
      for (Int row = 0; row <= k; row += 3) {
        auto tap = [&](Int k) { return image + k / 9 * padded + k % 9 / 3 * (W + 2) + k % 3; };
        PixelSums<S> found(tap(k), tap(row), H, W);
        if (row == 0) sums[k] += found.alone;
        for (int j = 0; j < 3; j++) squares[k * K + row + j] += found.products[j];
      }
  }
  for (Int k = 0; k < K; k++) {
    mean[k] = S(sums[k] / double(count) + double(S(centre[k / 9])));
    for (Int j = 0; j <= k; j++) {
      double value = squares[k * K + j] / double(count) - sums[k] / double(count) * (sums[j] / double(count));
      covariance[k * K + j] = covariance[j * K + k] = S(value);
    }
  }
}

template <class S> struct Corner {  // the 4x4 pixels that a window sees
  S x[4][4];
  Corner(const S *p, Int width) {
    for (int a = 0; a < 4; a++)
      for (int b = 0; b < 4; b++) x[a][b] = p[a * width + b];
  }
};

// f(pixels of the first plane under a window, offset of the output) for the windows of one image of P planes, in its
// rows `first` to `last` of windows, or in all of them.
template <class S, class F>
inline void each_window(const S *x, Int image, Int P, Int H, Int W, Int C, Int first, Int last, const F &f) {
  for (Int y = first; y < last; y++)
    for (Int c = 0; c < W / 2; c++)
      f(x + (image * P * (H + 2) + 2 * y) * (W + 2) + 2 * c, ((image * (H / 2) + y) * (W / 2) + c) * C);
}
template <class S, class F> inline void each_window(const S *x, Int image, Int P, Int H, Int W, Int C, const F &f) {
  each_window(x, image, P, H, W, C, 0, H / 2, f);
}

template <class S, int P> struct FourPixels {
  Vec<S> a, b, c, d;
  FourPixels(const S *pixels, Int H, Int W, const Vec<S> *u) : a(u[0]), b(u[0]), c(u[0]), d(u[0]) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      const Corner<S> q(pixels + p * (H + 2) * (W + 2), W + 2);
#pragma GCC unroll 9
      for (int k = 0; k < 9; k++) {
        const int i = k / 3, j = k % 3;
        const Vec<S> tap = u[1 + p * 9 + k];
        a += q.x[i][j] * tap, b += q.x[i][j + 1] * tap;
        c += q.x[i + 1][j] * tap, d += q.x[i + 1][j + 1] * tap;
      }
    }
  }
};

template <class S, int P>
void first_forward(const S *x, const S *u, S *Y, uint8_t *winners, Int n, Int H, Int W, Int C) {
  for (Int i = 0; i < n; i++)
    for (Int v = 0; v < C; v += LANES<S>) {
      Vec<S> f[1 + 9 * P];
      for (int k = 0; k < 1 + 9 * P; k++) f[k] = load(u + k * C + v);
      each_window(x, i, P, H, W, C, [&](const S *pixels, Int to) {
        FourPixels<S, P> p(pixels, H, W, f);
        Lane<S> which{};
        Vec<S> best = p.a;
        which = (p.b > best) ? which + 1 : which, best = (p.b > best) ? p.b : best;
        which = (p.c > best) ? Lane<S>{} + 2 : which, best = (p.c > best) ? p.c : best;
        which = (p.d > best) ? Lane<S>{} + 3 : which, best = (p.d > best) ? p.d : best;
        which = (best <= S(0)) ? Lane<S>{} + DEAD : which, best = (best <= S(0)) ? Vec<S>{} : best;
        store(Y + to + v, best), store_bytes<S>(winners + to + v, which);
      });
    }
}

template <class S, int P>
void first_apply(const S *x, const S *u, const uint8_t *winners, S *Y, Int n, Int H, Int W, Int C) {
  for (Int i = 0; i < n; i++)
    for (Int v = 0; v < C; v += LANES<S>) {
      Vec<S> f[1 + 9 * P];
      for (int k = 0; k < 1 + 9 * P; k++) f[k] = load(u + k * C + v);
      each_window(x, i, P, H, W, C, [&](const S *pixels, Int to) {
        FourPixels<S, P> p(pixels, H, W, f);
        Lane<S> which = load_bytes<S>(winners + to + v);
        store(Y + to + v, (which < DEAD) ? choose<S>(which, p.a, p.b, p.c, p.d) : Vec<S>{});
      });
    }
}

// D [1 + 9 P][C] = the gradient by u, given g, that by y. Images outside, so that one image's stay in the cache; then
// planes, since the sums of one are what registers hold.
template <class S, int P>
void first_gradient(const S *x, const S *g, const uint8_t *winners, S *D, Int n, Int H, Int W, Int C) {
  for (Int i = 0; i < n; i++)
    for (Int v = 0; v < C; v += LANES<S>)
      for (int plane = 0; plane < P; plane++) {
        each_band(H / 2, W / 2, [&](Int first, Int last) {
          Vec<S> f[10] = {};
          each_window(x + plane * (H + 2) * (W + 2), i, P, H, W, C, first, last, [&](const S *pixels, Int to) {
            const Corner<S> q(pixels, W + 2);
            Lane<S> which = load_bytes<S>(winners + to + v);
            Vec<S> all = in_register(load(g + to + v));
            Vec<S> a = where<S>(which, 0, all), b = where<S>(which, 1, all);
            Vec<S> c = where<S>(which, 2, all), d = where<S>(which, 3, all);
            f[0] += (a + b) + (c + d);
#pragma GCC unroll 9
            for (int k = 0; k < 9; k++) {
              const int y = k / 3, z = k % 3;
              f[k + 1] += (q.x[y][z] * a + q.x[y][z + 1] * b) + (q.x[y + 1][z] * c + q.x[y + 1][z + 1] * d);
            }
          });
          for (int k = plane ? 1 : 0; k < 10; k++) {
            S *to = D + (k ? plane * 9 + k : 0) * C + v;
            store(to, i || first ? load(to) + f[k] : f[k]);
          }
        });
      }
}

}  // namespace fphi
