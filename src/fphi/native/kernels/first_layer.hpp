// The first layer of a network on data, whole: 3x3 convolution of one input channel, batch norm, ReLU, 2x2 max-pool.
//
// The batch statistics of the convolution follow from those of the image patches, so scale and shift are known
// beforehand, and with a filter that has them multiplied in, u [10][C] (the shift, then nine taps), the layer is
//   y = max(0, max over the window's 4 pixels of u_0 + sum over k of u_k x[pixel + k])
// It is linear in u where the winners are: `first_apply` is that linear map, `first_gradient` its transpose, and every
// derivative is one of the two. No map of the convolution's size is ever written.
// x: padded by one pixel, [n][H + 2][W + 2]; y [n][H / 2][W / 2][C].
#pragma once
#include "norm_pool.hpp"

namespace fphi {

// The nine taps' mean [9] and covariance [9][9] over the patches of `own` images.
template <class S> void patch_moments(const S *x, S *mean, S *covariance, Int own, Int H, Int W) {
  constexpr int L = LANES<S>;
  const Int padded = (H + 2) * (W + 2), count = own * H * W;
  S centre = 0;  // near the mean: the squares below lose no figures to it
  for (Int i = 0; i < own * padded; i++) centre += x[i];
  centre /= S(own * padded);
  S *image = scratch<S>(2, padded + L);
  std::fill_n(image, padded + L, S(0));
  double sums[9] = {}, squares[9][9] = {};
  for (Int i = 0; i < own; i++) {
    for (Int p = 0; p < padded; p++) image[p] = x[i * padded + p] - centre;
    for (int k = 0; k < 9; k++)
      for (int j = 0; j <= k; j++) {
        const S *a = image + k / 3 * (W + 2) + k % 3, *b = image + j / 3 * (W + 2) + j % 3;
        Vec<S> sum{}, square{};
        S sum_rest = 0, square_rest = 0;
        for (Int y = 0; y < H; y++, a += W + 2, b += W + 2) {
          Int c = 0;
          for (; c + L <= W; c += L) sum += load(a + c), square += load(a + c) * load(b + c);
          for (; c < W; c++) sum_rest += a[c], square_rest += a[c] * b[c];
        }
        for (int l = 0; l < L; l++) sum_rest += sum[l], square_rest += square[l];
        if (j == 0) sums[k] += sum_rest;
        squares[k][j] += square_rest;
      }
  }
  for (int k = 0; k < 9; k++) {
    mean[k] = S(sums[k] / double(count) + centre);
    for (int j = 0; j <= k; j++) {
      double value = squares[k][j] / double(count) - sums[k] / double(count) * (sums[j] / double(count));
      covariance[k * 9 + j] = covariance[j * 9 + k] = S(value);
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

// f(corner, offset of the output) for all windows of all images, for one vector of channels at a time.
template <class S, class F> inline void each_corner(const S *x, Int image, Int H, Int W, Int C, const F &f) {
  for (Int y = 0; y < H / 2; y++)
    for (Int c = 0; c < W / 2; c++)
      f(Corner<S>(x + (image * (H + 2) + 2 * y) * (W + 2) + 2 * c, W + 2), ((image * (H / 2) + y) * (W / 2) + c) * C);
}

template <class S> struct FourPixels {
  Vec<S> a, b, c, d;
  FourPixels(const Corner<S> &q, const Vec<S> *u) : a(u[0]), b(u[0]), c(u[0]), d(u[0]) {
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++) {
      const int i = k / 3, j = k % 3;
      a += q.x[i][j] * u[k + 1], b += q.x[i][j + 1] * u[k + 1];
      c += q.x[i + 1][j] * u[k + 1], d += q.x[i + 1][j + 1] * u[k + 1];
    }
  }
};

template <class S> void first_forward(const S *x, const S *u, S *Y, uint8_t *winners, Int n, Int H, Int W, Int C) {
  for (Int i = 0; i < n; i++)
    for (Int v = 0; v < C; v += LANES<S>) {
      Vec<S> f[10];
      for (int k = 0; k < 10; k++) f[k] = load(u + k * C + v);
      each_corner(x, i, H, W, C, [&](const Corner<S> &q, Int to) {
        FourPixels<S> p(q, f);
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

template <class S>
void first_apply(const S *x, const S *u, const uint8_t *winners, S *Y, Int n, Int H, Int W, Int C) {
  for (Int i = 0; i < n; i++)
    for (Int v = 0; v < C; v += LANES<S>) {
      Vec<S> f[10];
      for (int k = 0; k < 10; k++) f[k] = load(u + k * C + v);
      each_corner(x, i, H, W, C, [&](const Corner<S> &q, Int to) {
        FourPixels<S> p(q, f);
        Lane<S> which = load_bytes<S>(winners + to + v);
        store(Y + to + v, (which < DEAD) ? choose<S>(which, p.a, p.b, p.c, p.d) : Vec<S>{});
      });
    }
}

// P [10][C] = the gradient by u, given g, that by y. Images outside, so that one image's stay in the first cache.
template <class S>
void first_gradient(const S *x, const S *g, const uint8_t *winners, S *P, Int n, Int H, Int W, Int C) {
  for (Int i = 0; i < n; i++)
    for (Int v = 0; v < C; v += LANES<S>) {
      Vec<S> f[10] = {};
      each_corner(x, i, H, W, C, [&](const Corner<S> &q, Int to) {
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
      for (int k = 0; k < 10; k++) store(P + k * C + v, i ? load(P + k * C + v) + f[k] : f[k]);
    }
}

}  // namespace fphi
