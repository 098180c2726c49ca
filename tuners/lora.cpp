#include "tuners/lora.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <cmath>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

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

struct InitialValues {
  at::Tensor a;
  at::Tensor b;
};

/// PEFT's LoraLayer.orthogonal_init.
InitialValues orthogonal_values(int64_t in, int64_t out, int64_t r, RandomStream stream) {
  const at::Tensor q = orthogonal(r, stream);
  const at::Tensor odd = q.slice(0, 0, r, 2);
  const at::Tensor even = q.slice(0, 1, r, 2);
  at::Tensor a = normal(in, r / 2, 0.1, stream).matmul(odd).t().contiguous();
  at::Tensor b = normal(r / 2, out, 0.1, stream).t().matmul(even).contiguous();
  return {std::move(a), std::move(b)};
}

InitialValues initial_values(const LinearSite& site, const std::string& adapter_name,
                             const LoraLinear::Settings& settings, uint64_t seed) {
  const int64_t in = site.in_features(), out = site.out_features(), r = settings.r;
  RandomStream stream_a(seed, stream_id(site.path + ".lora_A." + adapter_name));
  const RandomStream stream_b(seed, stream_id(site.path + ".lora_B." + adapter_name));
  if (settings.init == "true") {
    return {kaiming_values({r, in}, in, stream_a), at::zeros({out, r}, at::kFloat)};
  }
  if (settings.init == "gaussian") {
    return {normal(r, in, 1.0 / static_cast<double>(r), stream_a), at::zeros({out, r}, at::kFloat)};
  }
  if (settings.init == "false") {
    return {kaiming_values({r, in}, in, stream_a), kaiming_values({out, r}, r, stream_b)};
  }
  if (settings.init == "orthogonal" && r % 2 == 0) return orthogonal_values(in, out, r, stream_a);
  throw std::invalid_argument(
      c10::str("no such initial values for LoRA: ", settings.init, ", r ", r));
}

}  // namespace

LoraLinear::LoraLinear(const LinearSite& site, const std::string& adapter_name, Settings settings,
                       uint64_t seed)
    : settings_(std::move(settings)),
      base_dtype_(site.weight.base.scalar_type()),
      stream_(stream_id(site.path + ".lora_dropout." + adapter_name)) {
  if (settings_.r < 1) throw std::invalid_argument(c10::str("LoRA rank is below 1: ", settings_.r));
  const at::NoGradGuard no_grad;
  const InitialValues values = initial_values(site, adapter_name, settings_, seed);
  const at::Device device = site.weight.base.device();
  a_ = values.a.to(device, settings_.dtype).set_requires_grad(true);
  b_ = values.b.to(device, settings_.dtype).set_requires_grad(true);
}

std::optional<LowRankUpdate> LoraLinear::low_rank() const {
  const bool as_is = settings_.dtype == at::kFloat || settings_.dtype == base_dtype_;
  return LowRankUpdate{.a = as_is ? a_ : a_.to(at::kFloat),
                       .b = as_is ? b_ : b_.to(at::kFloat),
                       .scaling = settings_.scaling,
                       .dropout = settings_.dropout,
                       .stream = stream_};
}

at::Tensor LoraLinear::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext& context) const {
  const at::Tensor dropped = context.dropout(x, stream_, settings_.dropout);
  const at::Tensor update = dropped.to(a_.scalar_type()).matmul(a_.t()).matmul(b_.t());
  const at::Tensor y = next(x);
  return y.add(update.mul(settings_.scaling).to(y.scalar_type()));
}

std::vector<LayerTensor> LoraLinear::tensors() const {
  return {{.name = "lora_A.weight", .tensor = a_}, {.name = "lora_B.weight", .tensor = b_}};
}

at::Tensor LoraLinear::delta_weight() const {
  return b_.to(at::kFloat).matmul(a_.to(at::kFloat)).mul(settings_.scaling);
}

}  // namespace tunefleet::tuners
