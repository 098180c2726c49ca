#pragma once

#include <cstdint>

/// Products with a sparse matrix S [rows, cols] on plain memory: no torch here, so that they are
/// compiled with flags of their own. Dense operands lie transposed, one row of `tokens` floats for
/// each feature. Rows are independent: callers share them out among threads.
namespace tunefleet::tuners::cpu {

/// S in rows: entries first[i] … first[i + 1] - 1 are of row i, at columns col[e]. The value of
/// entry e is values[place[e]].
struct SparseRows {
  int64_t rows;
  const int32_t* first;  ///< [rows + 1]
  const int32_t* col;
  const int32_t* place;
};

/// y[i, :] = sum over the entries of row i of value * x[col, :], for rows begin … end - 1 of y
/// [rows, tokens].
void sparse_product(const SparseRows& s, const float* values, const float* x, float* y,
                    int64_t tokens, int64_t begin, int64_t end);

/// grad[place[e]] = y[i, :] . x[col[e], :] for every entry e of rows begin … end - 1.
void sampled_product(const SparseRows& s, const float* y, const float* x, float* grad,
                     int64_t tokens, int64_t begin, int64_t end);

}  // namespace tunefleet::tuners::cpu
