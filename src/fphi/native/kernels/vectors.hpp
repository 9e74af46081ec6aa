// Vectors of the target's width: the compiler's own (GCC, Clang), so one source serves AVX-512, AVX2 and NEON.
//
// Three things that compilers do badly are spelled out with intrinsics where the target has them: keeping a
// loaded vector in a register, and the conversions between bytes and the lanes of a comparison.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace fphi {

using Int = int64_t;

// Bytes of a vector. GCC takes vectors wider than the target's apart into scalars, which is many times slower.
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

// S is float or double everywhere. A Vec<S> has LANES<S> numbers; a Lane<S> is as many integers of the same width.
template <class S> struct Types;
template <> struct Types<float> {
  typedef float vec __attribute__((vector_size(VECTOR_BYTES)));
  typedef float loose __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
  typedef int32_t lane __attribute__((vector_size(VECTOR_BYTES)));
  typedef uint8_t bytes __attribute__((vector_size(VECTOR_BYTES / 4), aligned(1), may_alias));
};
template <> struct Types<double> {
  typedef double vec __attribute__((vector_size(VECTOR_BYTES)));
  typedef double loose __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
  typedef int64_t lane __attribute__((vector_size(VECTOR_BYTES)));
  typedef uint8_t bytes __attribute__((vector_size(VECTOR_BYTES / 8), aligned(1), may_alias));
};
template <class S> using Vec = typename Types<S>::vec;
template <class S> using Lane = typename Types<S>::lane;
template <class S> constexpr int LANES = VECTOR_BYTES / int(sizeof(S));

template <class S> inline Vec<S> load(const S *p) { return *(const typename Types<S>::loose *)p; }
template <class S> inline void store(S *p, Vec<S> a) { *(typename Types<S>::loose *)p = a; }

// The same value, in a register: GCC otherwise folds a load into a masked instruction, which some processors
// run up to eight times slower.
template <class V> inline V in_register(V a) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(a));
#endif
  return a;
}

// LANES<S> bytes as integers, and back; every value fits a byte.
template <class S> inline Lane<S> load_bytes(const uint8_t *p) {
#if defined(__AVX512F__)
  if constexpr (sizeof(S) == 4)
    return (Lane<S>)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
  else
    return (Lane<S>)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p));
#elif defined(__AVX2__)
  if constexpr (sizeof(S) == 4) {
    return (Lane<S>)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
  } else {
    int four;
    std::memcpy(&four, p, 4);
    return (Lane<S>)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
  }
#else
  return __builtin_convertvector(*(const typename Types<S>::bytes *)p, Lane<S>);
#endif
}
template <class S> inline void store_bytes(uint8_t *p, Lane<S> a) {
#if defined(__AVX512F__)
  if constexpr (sizeof(S) == 4)
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)a));
  else
    _mm_storel_epi64((__m128i *)p, _mm512_cvtepi64_epi8((__m512i)a));
#elif defined(__AVX2__)
  if constexpr (sizeof(S) == 4) {
    __m256i wide = (__m256i)a;
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(half, half));
  } else {
    for (int i = 0; i < LANES<S>; i++) p[i] = uint8_t(a[i]);
  }
#else
  *(typename Types<S>::bytes *)p = __builtin_convertvector(a, typename Types<S>::bytes);
#endif
}

// a, b, c or d: in each lane the one that `which` numbers from 0.
template <class S> inline Vec<S> choose(Lane<S> which, Vec<S> a, Vec<S> b, Vec<S> c, Vec<S> d) {
  Vec<S> chosen = (which == 1) ? b : a;
  chosen = (which == 2) ? c : chosen;
  return (which == 3) ? d : chosen;
}
template <class S> inline Vec<S> where(Lane<S> which, int value, Vec<S> a) { return (which == value) ? a : Vec<S>{}; }

// A square of LANES<S> x LANES<S> numbers, rows and columns exchanged.
template <class S, int STEP, size_t... J>
inline void exchange(Vec<S> &a, Vec<S> &b, std::index_sequence<J...>) {
  constexpr int L = LANES<S>;
  Vec<S> upper = __builtin_shufflevector(a, b, ((J & STEP) ? L + int(J) - STEP : int(J))...);
  b = __builtin_shufflevector(a, b, ((J & STEP) ? L + int(J) : int(J) + STEP)...);
  a = upper;
}
template <class S, int STEP> inline void exchange_all(Vec<S> *rows) {
  constexpr int L = LANES<S>;
#pragma GCC unroll 16
  for (int i = 0; i < L; i++)
    if (!(i & STEP)) exchange<S, STEP>(rows[i], rows[i + STEP], std::make_index_sequence<L>());
  if constexpr (STEP > 1) exchange_all<S, STEP / 2>(rows);
}
template <class S> inline void transpose_square(const S *from, Int from_row, S *to, Int to_row) {
  constexpr int L = LANES<S>;
  Vec<S> rows[L];
#pragma GCC unroll 16
  for (int i = 0; i < L; i++) rows[i] = load(from + i * from_row);
  exchange_all<S, L / 2>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < L; i++) store(to + i * to_row, rows[i]);
}
// to[j][i] = from[i][j], for `rows` x `columns` numbers.
template <class S> inline void transpose(const S *from, Int from_row, S *to, Int to_row, Int rows, Int columns) {
  constexpr int L = LANES<S>;
  Int i = 0;
  for (; i + L <= rows; i += L) {
    Int j = 0;
    for (; j + L <= columns; j += L) transpose_square(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
    for (; j < columns; j++)
      for (Int x = i; x < i + L; x++) to[j * to_row + x] = from[x * from_row + j];
  }
  for (; i < rows; i++)
    for (Int j = 0; j < columns; j++) to[j * to_row + i] = from[i * from_row + j];
}

// Scratch memory that a thread keeps, on a cache line; a slot serves one purpose at a time.
template <class S> inline S *scratch(int slot, Int count) {
  static thread_local std::vector<S> kept[8];
  std::vector<S> &own = kept[slot];
  const Int line = 64 / Int(sizeof(S));
  if (Int(own.size()) < count + line) own.resize(size_t(count + line));
  return (S *)(((uintptr_t)own.data() + 63) & ~(uintptr_t)63);
}

}  // namespace fphi
