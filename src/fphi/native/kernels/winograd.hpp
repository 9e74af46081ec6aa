// 3x3 convolution with stride 1 by Winograd's F(2x2, 3x3): a tile of 2x2 outputs costs 16 products in place of 36.
//
//   output tile = A^T [ (G w G^T) * (B^T d B) ] A,   d: the 4x4 inputs of the tile,   *: lane by lane
//
// For each of the 16 places the sum over input channels is a product of matrices [tiles][inputs] x [inputs][outputs].
// The operation is linear in the map and in the filter, so its derivatives, of every order, are three kernels:
// the convolution, its gradient by the map (a convolution with the turned filter), its gradient by the filter.
//
// Maps [n][H][W][channels], filters as torch has them, [outputs][inputs][3][3]. Channels are multiples of a vector.
#pragma once
#include <algorithm>

#include "product.hpp"

namespace fphi {

constexpr Int TILES = 24;  // at a time: what is transformed of them stays in the second-level cache

// From one of the 16 places to the next, where each has so many numbers: a cache line more, since sixteen addresses that
// are a power of two apart share the few places that the cache has for them.
template <class S> constexpr Int place_of(Int count) { return count + 64 / Int(sizeof(S)); }

struct Grid {  // the tiles of n output maps of size H x W
  Int n, H, W, rows, columns;
  Grid(Int n, Int H, Int W) : n(n), H(H), W(W), rows((H + 1) / 2), columns((W + 1) / 2) {}
  Int count() const { return n * rows * columns; }
  void place(Int tile, Int &image, Int &y, Int &x) const {
    image = tile / (rows * columns);
    Int within = tile % (rows * columns);
    y = 2 * (within / columns);
    x = 2 * (within % columns);
  }
};

// ---- filters: G w G^T ----

// taps: the nine numbers of a filter for LANES<S> filters side by side, `tap_step` apart.
template <class S> inline void transform_filter(const S *taps, Int tap_step, S *U, Int place_step) {
  const S half = S(.5);
  Vec<S> t[4][3];
  for (int j = 0; j < 3; j++) {
    Vec<S> a = load(taps + j * tap_step), b = load(taps + (3 + j) * tap_step), c = load(taps + (6 + j) * tap_step);
    Vec<S> outer = (a + c) * half, inner = b * half;
    t[0][j] = a, t[1][j] = outer + inner, t[2][j] = outer - inner, t[3][j] = c;
  }
  for (int i = 0; i < 4; i++) {
    Vec<S> outer = (t[i][0] + t[i][2]) * half, inner = t[i][1] * half;
    S *u = U + 4 * i * place_step;
    store(u, t[i][0]), store(u + place_step, outer + inner);
    store(u + 2 * place_step, outer - inner), store(u + 3 * place_step, t[i][2]);
  }
}

// [O][C][9] -> U [16][C][O]
template <class S> void filters_in(const S *w, S *U, Int C, Int O) {
  S *taps = scratch<S>(4, 9 * C * O);  // [C][9][O]
  transpose(w, 9 * C, taps, O, O, 9 * C);
  for (Int c = 0; c < C; c++)
    for (Int o = 0; o < O; o += LANES<S>) transform_filter(taps + c * 9 * O + o, O, U + c * O + o, place_of<S>(C * O));
}

// [O][C][9] -> U [16][O][C] of the filter turned by 180 degrees, which takes the outputs' gradient to the inputs'.
template <class S> void turned_filters_in(const S *w, S *U, Int C, Int O) {
  S *taps = scratch<S>(4, 9 * C);
  for (Int o = 0; o < O; o++) {
    transpose(w + o * 9 * C, 9, taps, C, C, 9);  // [9][C]
    for (Int c = 0; c < C; c += LANES<S>) transform_filter(taps + 8 * C + c, -C, U + o * C + c, place_of<S>(O * C));
  }
}

// The transpose of filters_in: [16][C][O] -> [O][C][9]
template <class S> void filters_out(const S *D, S *gradient, Int C, Int O) {
  const S half = S(.5);
  S *taps = scratch<S>(4, 9 * C * O);
  const Int step = place_of<S>(C * O);
  for (Int c = 0; c < C; c++)
    for (Int o = 0; o < O; o += LANES<S>) {
      const S *d = D + c * O + o;
      Vec<S> t[3][4];
      for (int j = 0; j < 4; j++) {
        Vec<S> m0 = load(d + j * step), m1 = load(d + (4 + j) * step);
        Vec<S> m2 = load(d + (8 + j) * step), m3 = load(d + (12 + j) * step), inner = (m1 + m2) * half;
        t[0][j] = m0 + inner, t[1][j] = (m1 - m2) * half, t[2][j] = inner + m3;
      }
      S *g = taps + c * 9 * O + o;
      for (int i = 0; i < 3; i++, g += 3 * O) {
        Vec<S> inner = (t[i][1] + t[i][2]) * half;
        store(g, t[i][0] + inner), store(g + O, (t[i][1] - t[i][2]) * half), store(g + 2 * O, inner + t[i][3]);
      }
    }
  transpose(taps, O, gradient, 9 * C, 9 * C, O);
}

// ---- maps ----

// B^T d B of the 4x4 inputs of tiles `first` to `last`: V [16][TILES][C]. X: maps of H x W before `padding`.
template <class S> void maps_in(const S *X, Int H, Int W, Int C, Int padding, const Grid &grid, Int first, Int last, S *V) {
  const Int step = place_of<S>(TILES * C);
  S *zero = scratch<S>(5, C);
  std::fill(zero, zero + C, S(0));
  for (Int tile = first; tile < last; tile++) {
    Int image, y, x;
    grid.place(tile, image, y, x);
    const S *d[4][4];
    for (int a = 0; a < 4; a++)
      for (int b = 0; b < 4; b++) {
        Int row = y + a - padding, column = x + b - padding;
        bool inside = row >= 0 && row < H && column >= 0 && column < W;
        d[a][b] = inside ? X + ((image * H + row) * W + column) * C : zero;
      }
    for (Int c = 0; c < C; c += LANES<S>) {
      Vec<S> m[4][4];
#pragma GCC unroll 4
      for (int b = 0; b < 4; b++) {
        Vec<S> d0 = load(d[0][b] + c), d1 = load(d[1][b] + c), d2 = load(d[2][b] + c), d3 = load(d[3][b] + c);
        m[0][b] = d0 - d2, m[1][b] = d1 + d2, m[2][b] = d2 - d1, m[3][b] = d1 - d3;
      }
      S *v = V + (tile - first) * C + c;
#pragma GCC unroll 4
      for (int a = 0; a < 4; a++, v += 4 * step) {
        store(v, m[a][0] - m[a][2]), store(v + step, m[a][1] + m[a][2]);
        store(v + 2 * step, m[a][2] - m[a][1]), store(v + 3 * step, m[a][1] - m[a][3]);
      }
    }
  }
}

// The transpose of maps_out: A g A^T of 2x2 outputs' gradients, [16][TILES][O].
template <class S> void gradients_in(const S *G, Int O, const Grid &grid, Int first, Int last, S *V) {
  const Int step = place_of<S>(TILES * O);
  S *zero = scratch<S>(5, O);
  std::fill(zero, zero + O, S(0));
  for (Int tile = first; tile < last; tile++) {
    Int image, y, x;
    grid.place(tile, image, y, x);
    const S *g[2][2];
    for (int a = 0; a < 2; a++)
      for (int b = 0; b < 2; b++) {
        bool inside = y + a < grid.H && x + b < grid.W;
        g[a][b] = inside ? G + ((image * grid.H + y + a) * grid.W + x + b) * O : zero;
      }
    for (Int o = 0; o < O; o += LANES<S>) {
      Vec<S> m[4][2];
#pragma GCC unroll 2
      for (int b = 0; b < 2; b++) {
        Vec<S> g0 = load(g[0][b] + o), g1 = load(g[1][b] + o);
        m[0][b] = g0, m[1][b] = g0 + g1, m[2][b] = g0 - g1, m[3][b] = -g1;
      }
      S *v = V + (tile - first) * O + o;
#pragma GCC unroll 4
      for (int a = 0; a < 4; a++, v += 4 * step) {
        store(v, m[a][0]), store(v + step, m[a][0] + m[a][1]);
        store(v + 2 * step, m[a][0] - m[a][1]), store(v + 3 * step, -m[a][1]);
      }
    }
  }
}

// A^T M A: the 2x2 outputs of each tile.
template <class S> void maps_out(const S *M, Int O, const Grid &grid, Int first, Int last, S *Y) {
  const Int step = place_of<S>(TILES * O);
  for (Int tile = first; tile < last; tile++) {
    Int image, y, x;
    grid.place(tile, image, y, x);
    bool below = y + 1 < grid.H, right = x + 1 < grid.W;
    S *out = Y + ((image * grid.H + y) * grid.W + x) * O;
    for (Int o = 0; o < O; o += LANES<S>, out += LANES<S>) {
      const S *m = M + (tile - first) * O + o;
      Vec<S> t[2][4];
#pragma GCC unroll 4
      for (int b = 0; b < 4; b++) {
        Vec<S> m0 = load(m + b * step), m1 = load(m + (4 + b) * step);
        Vec<S> m2 = load(m + (8 + b) * step), m3 = load(m + (12 + b) * step);
        t[0][b] = m0 + m1 + m2, t[1][b] = m1 - m2 - m3;
      }
      store(out, t[0][0] + t[0][1] + t[0][2]);
      if (right) store(out + O, t[0][1] - t[0][2] - t[0][3]);
      if (below) store(out + grid.W * O, t[1][0] + t[1][1] + t[1][2]);
      if (below && right) store(out + (grid.W + 1) * O, t[1][1] - t[1][2] - t[1][3]);
    }
  }
}

// ---- the three kernels, each of one task; a second pair (X2, w2) or (X2, G2) is added in the same pass ----

// Y [n][H'][W'][O] = X * w (+ X2 * w2), H' = H + 2 padding - 2. U, U2: transformed filters.
template <class S>
void convolve(const S *X, const S *U, const S *X2, const S *U2, S *Y, Int n, Int H, Int W, Int C, Int O, Int padding) {
  Grid grid(n, H + 2 * padding - 2, W + 2 * padding - 2);
  const Int v = place_of<S>(TILES * C), m = place_of<S>(TILES * O), u = place_of<S>(C * O);
  S *V = scratch<S>(2, 16 * v), *M = scratch<S>(3, 16 * m);
  for (Int first = 0; first < grid.count(); first += TILES) {
    Int last = std::min(first + TILES, grid.count());
    for (int pair = 0; pair < (X2 ? 2 : 1); pair++) {
      const S *filters = pair ? U2 : U;
      maps_in(pair ? X2 : X, H, W, C, padding, grid, first, last, V);
      for (int k = 0; k < 16; k++)
        product(V + k * v, C, Int(1), filters + k * u, O, M + k * m, O, last - first, O, C, pair);
    }
    maps_out(M, O, grid, first, last, Y);
  }
}

// D [16][C][O] (+)= the transformed gradient by the filter of X * w, where G is the gradient by the outcome.
template <class S>
void correlate(const S *X, const S *G, S *D, bool add, Int n, Int H, Int W, Int C, Int O, Int padding) {
  Grid grid(n, H + 2 * padding - 2, W + 2 * padding - 2);
  const Int v = place_of<S>(TILES * C), m = place_of<S>(TILES * O), u = place_of<S>(C * O);
  S *V = scratch<S>(2, 16 * v), *M = scratch<S>(3, 16 * m);
  for (Int first = 0; first < grid.count(); first += TILES) {
    Int last = std::min(first + TILES, grid.count());
    maps_in(X, H, W, C, padding, grid, first, last, V);
    gradients_in(G, O, grid, first, last, M);
    for (int k = 0; k < 16; k++)
      product(V + k * v, Int(1), C, M + k * m, O, D + k * u, O, C, O, last - first, add);
    add = true;
  }
}

}  // namespace fphi
