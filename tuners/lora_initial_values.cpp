#include "tuners/lora_initial_values.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <cmath>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

RandomStream stream_of(const LoraDraw& draw, const char* factor) {
  return {draw.seed, stream_id(draw.path + factor + draw.adapter_name)};
}

int64_t row_size(at::IntArrayRef shape) { return c10::multiply_integers(shape.slice(1)); }

at::Tensor normal(int64_t rows, int64_t cols, double deviation, RandomStream& stream) {
  at::Tensor tensor = at::empty({rows, cols}, at::kFloat);
  float* values = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    values[i] = static_cast<float>(stream.normal() * deviation);
  }
  return tensor;
}

/// A random orthogonal [r, r]: Gram-Schmidt on normal rows, twice for orthogonality to the last
/// digit. In double and by hand, so that every machine makes the same.
at::Tensor orthogonal(int64_t r, RandomStream& stream) {
  at::Tensor q = at::empty({r, r}, at::kDouble);
  double* rows = q.mutable_data_ptr<double>();
  for (int64_t i = 0; i < r; ++i) {
    double* row = rows + i * r;
    for (int64_t j = 0; j < r; ++j) row[j] = stream.normal();
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t k = 0; k < i; ++k) {
        double dot = 0.0;
        for (int64_t j = 0; j < r; ++j) dot += row[j] * rows[k * r + j];
        for (int64_t j = 0; j < r; ++j) row[j] -= dot * rows[k * r + j];
      }
      double square = 0.0;
      for (int64_t j = 0; j < r; ++j) square += row[j] * row[j];
      for (int64_t j = 0; j < r; ++j) row[j] /= std::sqrt(square);
    }
  }
  return q.to(at::kFloat);
}

/// PEFT's LoraLayer.orthogonal_init.
LoraFactors orthogonal_factors(at::IntArrayRef a_shape, int64_t out, RandomStream stream) {
  const int64_t r = a_shape[0], in = a_shape[1];
  const at::Tensor q = orthogonal(r, stream);
  const at::Tensor odd = q.slice(0, 0, r, 2);
  const at::Tensor even = q.slice(0, 1, r, 2);
  at::Tensor a = normal(in, r / 2, 0.1, stream).matmul(odd).t().contiguous();
  at::Tensor b = normal(r / 2, out, 0.1, stream).t().matmul(even).contiguous();
  return {std::move(a), std::move(b)};
}

/// The first r singular triplets: U [out, r], S [r], V^T [r, in].
struct Svd {
  at::Tensor u, s, vt;
};

Svd exact_svd(const at::Tensor& weight, int64_t r) {
  const auto [u, s, vt] = at::linalg_svd(weight, /*full_matrices=*/false);
  return {u.narrow(1, 0, r), s.narrow(0, 0, r), vt.narrow(0, 0, r)};
}

at::Tensor orthonormal(const at::Tensor& columns) { return std::get<0>(at::linalg_qr(columns)); }

/// Halko et al. 2011, arXiv:0909.4061, algorithms 4.4 and 5.1, without oversampling: as
/// torch.svd_lowrank does it.
Svd approximate_svd(const at::Tensor& weight, int64_t r, int64_t niter, RandomStream stream) {
  auto q = orthonormal(weight.matmul(normal(weight.size(1), r, 1.0, stream)));
  for (int64_t i = 0; i < niter; ++i)
    q = orthonormal(weight.matmul(orthonormal(weight.t().matmul(q))));
  const auto [u, s, vt] = at::linalg_svd(q.t().matmul(weight), /*full_matrices=*/false);
  return {q.matmul(u), s, vt};
}

/// Turns the signs of A's rows and of B's columns to where each row's largest number is positive.
LoraFactors with_signs(const at::Tensor& a, const at::Tensor& b) {
  const auto largest = a.gather(1, a.abs().argmax(1, /*keepdim=*/true)).squeeze(1);
  const auto sign = at::where(largest.lt(0), -1.0F, 1.0F).to(at::kFloat);
  return {a.mul(sign.unsqueeze(1)).contiguous(), b.mul(sign).contiguous()};
}

}  // namespace

LoraFactors drawn_factors(const std::string& init, at::IntArrayRef a_shape, at::IntArrayRef b_shape,
                          const LoraDraw& draw) {
  const auto stream_a = stream_of(draw, ".lora_A.");
  const int64_t r = a_shape[0];
  if (init == "true")
    return {kaiming_values(a_shape, row_size(a_shape), stream_a), at::zeros(b_shape, at::kFloat)};
  if (init == "gaussian") {
    return {normal_values(a_shape, 1.0 / static_cast<double>(r), stream_a),
            at::zeros(b_shape, at::kFloat)};
  }
  if (init == "false") {
    return {kaiming_values(a_shape, row_size(a_shape), stream_a),
            kaiming_values(b_shape, row_size(b_shape), stream_of(draw, ".lora_B."))};
  }
  if (init == "orthogonal" && r % 2 == 0 && a_shape.size() == 2)
    return orthogonal_factors(a_shape, b_shape[0], stream_a);
  throw std::invalid_argument(c10::str("no such initial values for LoRA: ", init, ", r ", r));
}

LoraFactors base_factors(const BaseInit& init, const at::Tensor& weight, int64_t r, double scaling,
                         const LoraDraw& draw) {
  const at::NoGradGuard no_grad;
  const auto wide = weight.detach().to(at::kCPU, at::kFloat);
  if (init.qr) {
    const auto [q, triangle] = at::linalg_qr(wide);
    return with_signs(triangle.narrow(0, 0, r), q.narrow(1, 0, r));
  }
  const auto svd = init.niter < 0
                       ? exact_svd(wide, r)
                       : approximate_svd(wide, r, init.niter, stream_of(draw, ".lora_A."));
  const auto root = svd.s.div(scaling).sqrt();
  return with_signs(svd.vt.mul(root.unsqueeze(1)), svd.u.mul(root));
}

}  // namespace tunefleet::tuners
