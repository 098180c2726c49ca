#include "worker/kernels/flat_norm.h"

#include <ATen/ops/norm.h>

#include <cmath>

namespace tunefleet::kernels {
namespace {

constexpr int64_t kPiece = int64_t{1} << 15;  ///< Numbers.

}  // namespace

double flat_norm(const at::Tensor& flat) {
  if (!flat.is_cpu()) return flat.norm(2.0, at::kFloat).item<double>();
  double squares = 0.0;
  for (const auto& piece : flat.split(kPiece)) {
    const auto part = piece.norm(2.0, at::kFloat).item<double>();
    squares += part * part;
  }
  return std::sqrt(squares);
}

}  // namespace tunefleet::kernels
