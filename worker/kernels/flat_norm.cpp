#include "worker/kernels/flat_norm.h"

#include <ATen/ops/norm.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tuners/parallel.h"
#include "worker/kernels/cpu_pointers.h"
#include "worker/kernels/square_loops.h"

namespace tunefleet::kernels {
namespace {

constexpr int64_t kPiece = int64_t{1} << 15;  ///< Numbers.

double norm_by_pieces(const at::Tensor& flat) {
  double squares = 0.0;
  for (const auto& piece : flat.split(kPiece)) {
    const auto part = piece.norm(2.0, at::kFloat).item<double>();
    squares += part * part;
  }
  return std::sqrt(squares);
}

}  // namespace

double flat_norm(const at::Tensor& flat) {
  if (!flat.is_cpu()) return flat.norm(2.0, at::kFloat).item<double>();
  if (!has_cpu_loop(flat) || !flat.is_contiguous()) return norm_by_pieces(flat);
  const int64_t count = flat.numel();
  std::vector<double> sums(static_cast<size_t>((count + kPiece - 1) / kPiece));
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t piece, int64_t end) {
    for (; piece < end; ++piece) {
      const int64_t from = piece * kPiece, numbers = std::min(kPiece, count - from);
      sums[static_cast<size_t>(piece)] = flat.scalar_type() == at::kFloat
                                             ? cpu::sum_of_squares(f32(flat) + from, numbers)
                                             : cpu::sum_of_squares(bf16(flat) + from, numbers);
    }
  });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

}  // namespace tunefleet::kernels
