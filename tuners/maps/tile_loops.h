#pragma once

#include <cstdint>

/// Loops over tiles on plain memory: no torch here, so that they are compiled with flags of their
/// own. A tile is kTile tokens side by side, [features, kTile]: one instruction handles a feature
/// of many tokens at once.
namespace tunefleet::tuners::loops {

constexpr int64_t kTile = 32;  ///< Tokens of a tile.

/// A sparse matrix [rows, cols], its entries row by row.
struct SparseRows {
  int64_t rows = 0, cols = 0;
  const int32_t* starts = nullptr;   ///< [rows + 1]: where each row's entries begin.
  const int32_t* columns = nullptr;  ///< [entries]
  const int32_t* numbers = nullptr;  ///< [entries]: which value is the entry's.
  const int32_t* row_of = nullptr;   ///< [entries]
};

/// `count` <= kTile rows of x [., width] as a tile; missing tokens are zero.
void to_tile(const float* x, int64_t width, int64_t count, float* tile);
/// y [count, width] += scale * the tile.
void add_tile(const float* tile, int64_t width, int64_t count, float scale, float* y);

/// out[r] = sum of value * in[column] over row r: tiles of `cols` and `rows` features.
void sparse_product(const SparseRows& matrix, const float* values, const float* in, float* out);
/// sums[number] += sum over tokens of g[row] * x[column] for every entry.
void sampled_product(const SparseRows& matrix, const float* g, const float* x, float* sums);

}  // namespace tunefleet::tuners::loops
