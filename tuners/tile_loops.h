#pragma once

#include <cstdint>

/// Products with a sparse matrix on plain memory, for SparsePattern: no torch here, so that they
/// are compiled with flags of their own. Tokens are worked on in tiles of kTile, turned so that one
/// instruction handles a tile's tokens at once.
namespace tunefleet::tuners::loops {

constexpr int64_t kTile = 32;  ///< Tokens side by side.

/// A sparse matrix [rows, cols], its entries row by row.
struct SparseRows {
  int64_t rows = 0, cols = 0;
  const int32_t* starts = nullptr;   ///< [rows + 1]: where each row's entries begin.
  const int32_t* columns = nullptr;  ///< [entries]
  const int32_t* order = nullptr;    ///< [entries]: the number of the entry's value.
};

/// y[t, r] = sum of value * x[t, column] over row r, for tokens from <= t < to. x [., cols], y
/// [., rows], contiguous. `scratch`: (rows + cols) * kTile floats.
void sparse_product(const SparseRows& matrix, const float* values, const float* x, float* y,
                    int64_t from, int64_t to, float* scratch);

/// sums[order] += sum over tokens of g[t, row] * x[t, column] for every entry. g [., rows], x
/// [., cols], contiguous. `scratch`: as above.
void sampled_product(const SparseRows& matrix, const float* g, const float* x, float* sums,
                     int64_t from, int64_t to, float* scratch);

}  // namespace tunefleet::tuners::loops
