// Products of small matrices: C[M][N] (+)= A[M][K] B[K][N].
//
// B and C have their rows one after another; A's two strides are free, so A may be a transposed matrix or the
// pixels of a map. N is a multiple of a vector. A block of C stays in registers while K runs: 6 rows of 2 vectors
// are what AVX2's 16 registers hold beside a row of B, 6 rows of 4 for AVX-512's 32. What is added to comes last: so
// rounding stays small where many products are added up.
#pragma once
#include "vectors.hpp"

namespace fphi {

constexpr int WIDE = VECTOR_BYTES == 64 ? 4 : 2;

template <class S, int R, int V>
inline void product_block(const S *A, Int a_row, Int a_column, const S *B, Int b_row, S *C, Int c_row, Int K,
                          bool add) {
  constexpr int L = LANES<S>;
  Vec<S> c[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) c[r][v] = Vec<S>{};
  for (Int k = 0; k < K; k++, A += a_column, B += b_row) {
    Vec<S> b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) b[v] = load(B + v * L);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      S a = A[r * a_row];
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) c[r][v] += a * b[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) store(C + r * c_row + v * L, add ? load(C + r * c_row + v * L) + c[r][v] : c[r][v]);
}

template <class S, int V>
inline void product_columns(const S *A, Int a_row, Int a_column, const S *B, Int b_row, S *C, Int c_row, Int M, Int K,
                            bool add) {
  Int m = 0;
  for (; m + 6 <= M; m += 6)
    product_block<S, 6, V>(A + m * a_row, a_row, a_column, B, b_row, C + m * c_row, c_row, K, add);
  for (; m + 2 <= M; m += 2)
    product_block<S, 2, V>(A + m * a_row, a_row, a_column, B, b_row, C + m * c_row, c_row, K, add);
  for (; m < M; m++)
    product_block<S, 1, V>(A + m * a_row, a_row, a_column, B, b_row, C + m * c_row, c_row, K, add);
}

template <class S>
inline void product(const S *A, Int a_row, Int a_column, const S *B, Int b_row, S *C, Int c_row, Int M, Int N, Int K,
                    bool add) {
  constexpr int L = LANES<S>;
  Int n = 0;
  for (; n + WIDE * L <= N; n += WIDE * L)
    product_columns<S, WIDE>(A, a_row, a_column, B + n, b_row, C + n, c_row, M, K, add);
  for (; n < N; n += L) product_columns<S, 1>(A, a_row, a_column, B + n, b_row, C + n, c_row, M, K, add);
}

}  // namespace fphi
