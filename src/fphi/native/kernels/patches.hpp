// 3x3 convolution by products with image patches: any stride and any number of inputs; outputs a multiple of a vector.
//
// Rows of patches [pixels][9 * inputs] are gathered for some pixels at a time and multiplied with the filter
// [9 * inputs][outputs]. The gradient by the map scatters its rows back; that by the filter sums products of rows.
#pragma once
#include <algorithm>

#include "product.hpp"

namespace fphi {

constexpr Int PIXELS = 48;  // at a time

struct Shape {  // of one task: maps [n][H][W][C] -> [n][rows][columns][O]
  Int n, H, W, C, O, stride, padding, rows, columns;
  Shape(Int n, Int H, Int W, Int C, Int O, Int stride, Int padding)
      : n(n), H(H), W(W), C(C), O(O), stride(stride), padding(padding), rows((H + 2 * padding - 3) / stride + 1),
        columns((W + 2 * padding - 3) / stride + 1) {}
  Int pixels() const { return n * rows * columns; }
  // The input pixel under tap (a, b) of an output pixel, or -1 in the padding.
  Int under(Int pixel, int a, int b) const {
    Int image = pixel / (rows * columns), within = pixel % (rows * columns);
    Int y = within / columns * stride + a - padding, x = within % columns * stride + b - padding;
    return y < 0 || y >= H || x < 0 || x >= W ? -1 : (image * H + y) * W + x;
  }
};

// [O][C][9] -> [9][C][O], and back.
template <class S> void filter_rows(const S *w, S *rows, Int C, Int O) {
  S *taps = scratch<S>(4, 9 * C * O);
  transpose(w, 9 * C, taps, O, O, 9 * C);
  for (Int c = 0; c < C; c++)
    for (int k = 0; k < 9; k++) std::copy_n(taps + (c * 9 + k) * O, O, rows + (k * C + c) * O);
}
template <class S> void rows_to_filter(const S *rows, S *w, Int C, Int O) {
  S *taps = scratch<S>(4, 9 * C * O);
  for (Int c = 0; c < C; c++)
    for (int k = 0; k < 9; k++) std::copy_n(rows + (k * C + c) * O, O, taps + (c * 9 + k) * O);
  transpose(taps, O, w, 9 * C, 9 * C, O);
}

template <class S> void gather(const S *X, const Shape &shape, Int first, Int last, S *P) {
  const Int C = shape.C;
  for (Int pixel = first; pixel < last; pixel++)
    for (int k = 0; k < 9; k++, P += C) {
      Int from = shape.under(pixel, k / 3, k % 3);
      if (from < 0)
        std::fill_n(P, C, S(0));
      else
        std::copy_n(X + from * C, C, P);
    }
}

// Y (+)= X * w
template <class S> void patch_convolve(const S *X, const S *w, S *Y, bool add, const Shape &shape) {
  const Int K = 9 * shape.C;
  S *rows = scratch<S>(0, K * shape.O), *P = scratch<S>(2, PIXELS * K);
  filter_rows(w, rows, shape.C, shape.O);
  for (Int first = 0; first < shape.pixels(); first += PIXELS) {
    Int last = std::min(first + PIXELS, shape.pixels());
    gather(X, shape, first, last, P);
    product(P, K, Int(1), rows, shape.O, Y + first * shape.O, shape.O, last - first, shape.O, K, add);
  }
}

// X (+)= the gradient by the map.
template <class S> void patch_gradient(const S *G, const S *w, S *X, bool add, const Shape &shape) {
  constexpr int L = LANES<S>;
  const Int K = 9 * shape.C, C = shape.C, wide = (K + L - 1) / L * L;
  S *rows = scratch<S>(0, K * shape.O), *turned = scratch<S>(1, wide * shape.O), *P = scratch<S>(2, PIXELS * wide);
  filter_rows(w, rows, C, shape.O);
  std::fill_n(turned, wide * shape.O, S(0));
  transpose(rows, shape.O, turned, wide, K, shape.O);  // [O][9 * C, and zeros]
  if (!add) std::fill_n(X, shape.n * shape.H * shape.W * C, S(0));
  for (Int first = 0; first < shape.pixels(); first += PIXELS) {
    Int last = std::min(first + PIXELS, shape.pixels());
    product(G + first * shape.O, shape.O, Int(1), turned, wide, P, wide, last - first, wide, shape.O, false);
    for (Int pixel = first; pixel < last; pixel++)
      for (int k = 0; k < 9; k++) {
        const S *p = P + (pixel - first) * wide + k * C;
        Int to = shape.under(pixel, k / 3, k % 3), c = 0;
        if (to < 0) continue;
        for (; c + L <= C; c += L) store(X + to * C + c, load(X + to * C + c) + load(p + c));
        for (; c < C; c++) X[to * C + c] += p[c];
      }
  }
}

// D [9][C][O] (+)= the gradient by the filter.
template <class S> void patch_correlate(const S *X, const S *G, S *D, bool add, const Shape &shape) {
  const Int K = 9 * shape.C;
  S *P = scratch<S>(2, PIXELS * K);
  for (Int first = 0; first < shape.pixels(); first += PIXELS) {
    Int last = std::min(first + PIXELS, shape.pixels());
    gather(X, shape, first, last, P);
    product(P, Int(1), K, G + first * shape.O, shape.O, D, shape.O, K, shape.O, last - first, add);
    add = true;
  }
}

}  // namespace fphi
