#include "worker/trainer/galore_projector.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "tuners/random.h"

namespace tunefleet::trainer {
namespace {

constexpr int64_t kOversampling = 8;
constexpr int kPowerIterations = 2;

/// The first singular vectors of a matrix: left [m, r], right [r, n].
struct SingularVectors {
  at::Tensor left, right;
};

SingularVectors exact_vectors(const at::Tensor& g, int64_t r) {
  const auto [u, s, vh] = at::linalg_svd(g, /*full_matrices=*/false);
  return {u.slice(1, 0, r), vh.slice(0, 0, r)};
}

at::Tensor normal_matrix(int64_t rows, int64_t columns, tuners::RandomStream stream) {
  auto out = at::empty({rows, columns}, at::kFloat);
  auto* values = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) values[i] = static_cast<float>(stream.normal());
  return out;
}

at::Tensor orthonormal(const at::Tensor& x) { return std::get<0>(at::linalg_qr(x)); }

/// The randomized range finder with power iterations (Halko, Martinsson & Tropp 2011,
/// arXiv:0909.4061, algorithms 4.4 and 5.1). The small problem is solved by its Gram matrix.
SingularVectors randomized_vectors(const at::Tensor& g, int64_t r, tuners::RandomStream stream) {
  const int64_t most = std::min(g.size(0), g.size(1));
  const int64_t samples = std::min(most, r + kOversampling);
  auto q = orthonormal(g.matmul(normal_matrix(g.size(1), samples, stream).to(g.device())));
  for (int i = 0; i < kPowerIterations; ++i)
    q = orthonormal(g.matmul(orthonormal(g.t().matmul(q))));
  const auto b = q.t().matmul(g);                                   // [samples, n]
  const auto [values, vectors] = at::linalg_eigh(b.matmul(b.t()));  // ascending
  const auto left = vectors.flip(1).slice(1, 0, std::min(r, samples));
  auto right = left.t().matmul(b);
  right = right.div(right.norm(2, 1, /*keepdim=*/true).clamp_min(1e-30));
  return {q.matmul(left), right};
}

}  // namespace

GaloreProjector::GaloreProjector(const GaloreOptions& options, const std::string& path)
    : options_(options),
      stream_(tuners::stream_id(path + ".galore")),
      gap_(options.update_proj_gap) {}

bool GaloreProjector::projects_left(at::IntArrayRef shape) const {
  const bool tall = shape[0] >= shape[1];
  const auto& type = options_.proj_type;
  return type == "full" || type == "left" || (type == "std" && !tall) ||
         (type == "reverse_std" && tall);
}

bool GaloreProjector::projects_right(at::IntArrayRef shape) const {
  return options_.proj_type == "full" || !projects_left(shape);
}

std::vector<int64_t> GaloreProjector::low_shape(at::IntArrayRef shape) const {
  const int64_t r = std::min({options_.rank, shape[0], shape[1]});
  return {projects_left(shape) ? r : shape[0], projects_right(shape) ? r : shape[1]};
}

namespace {

at::Tensor plain(const std::variant<at::Tensor, tuners::QuantizedGroups>& basis) {
  if (const auto* tensor = std::get_if<at::Tensor>(&basis)) return tensor->to(at::kFloat);
  return tuners::dequantize(std::get<tuners::QuantizedGroups>(basis), at::kFloat);
}

}  // namespace

at::Tensor GaloreProjector::project(const at::Tensor& gradient, int64_t step) {
  const at::NoGradGuard no_grad;
  if ((!left_ && !right_) || step % gap_ == 0) search(gradient, step);
  auto low = gradient.to(at::kFloat);
  if (left_) low = plain(*left_).t().matmul(low);
  if (right_) low = low.matmul(plain(*right_).t());
  return low;
}

at::Tensor GaloreProjector::project_back(const at::Tensor& low) const {
  const at::NoGradGuard no_grad;
  auto full = low;
  if (left_) full = plain(*left_).matmul(full);
  if (right_) full = full.matmul(plain(*right_));
  return full.mul(options_.scale);
}

void GaloreProjector::move_back(at::Tensor& value, const at::Tensor& low, const StepSize& size,
                                bool decays_first) const {
  const at::NoGradGuard no_grad;
  if (value.scalar_type() != at::kFloat)
    return move_along(value, project_back(low), size, decays_first);
  if (decays_first && size.kept != 1.0) value.mul_(size.kept);
  const auto half = left_ && right_ ? plain(*left_).matmul(low) : low;
  const double factor = -size.rate * options_.scale;
  // The product is added where it belongs: no matrix of the weight's size between.
  if (right_) {
    value.addmm_(half, plain(*right_), 1.0, factor);
  } else {
    value.addmm_(plain(*left_), half, 1.0, factor);
  }
  if (!decays_first && size.kept != 1.0) value.mul_(size.kept);
}

void GaloreProjector::search(const at::Tensor& gradient, int64_t step) {
  ++searches_;
  const auto wide = gradient.to(at::kFloat);
  const tuners::RandomStream stream(options_.seed,
                                    tuners::mix(stream_, static_cast<uint64_t>(step)));
  const auto vectors = options_.svd == "randomized"
                           ? randomized_vectors(wide, options_.rank, stream)
                           : exact_vectors(wide, options_.rank);
  const auto dtype = gradient.scalar_type();
  if (projects_left(gradient.sizes())) left_ = kept(vectors.left, dtype);
  if (projects_right(gradient.sizes())) right_ = kept(vectors.right, dtype);
  if (!options_.quantization) return;
  follow(left_ ? vectors.left.select(1, 0).clone() : vectors.right.select(0, 0).clone());
}

/// Lengthens the gap when the subspace has hardly moved over the last searches.
void GaloreProjector::follow(const at::Tensor& direction) {
  if (direction_.defined()) {
    // A singular vector's sign means nothing.
    const double cosine = std::abs(direction.dot(direction_).item<double>()) /
                          (direction.norm().item<double>() * direction_.norm().item<double>());
    cosines_.push_back(cosine);
    if (static_cast<int64_t>(cosines_.size()) > options_.queue_size) cosines_.pop_front();
    const double mean = std::accumulate(cosines_.begin(), cosines_.end(), 0.0) /
                        static_cast<double>(cosines_.size());
    if (static_cast<int64_t>(cosines_.size()) == options_.queue_size &&
        mean >= options_.cos_threshold) {
      gap_ = static_cast<int64_t>(static_cast<double>(gap_) * options_.gamma_proj);
    }
  }
  direction_ = direction;
}

GaloreProjector::Basis GaloreProjector::kept(const at::Tensor& basis, at::ScalarType dtype) const {
  if (options_.proj_quant)
    return tuners::quantize_groups(basis, options_.proj_bits, options_.proj_group_size);
  return basis.contiguous().to(dtype);
}

namespace {

void append_basis(const std::string& name,
                  const std::variant<at::Tensor, tuners::QuantizedGroups>& basis,
                  Optimizer::NamedTensors& out) {
  if (const auto* tensor = std::get_if<at::Tensor>(&basis)) {
    out.emplace_back(name, *tensor);
    return;
  }
  const auto& groups = std::get<tuners::QuantizedGroups>(basis);
  out.emplace_back(name + ".codes", groups.codes);
  out.emplace_back(name + ".scales", groups.scales);
  out.emplace_back(name + ".zeros", groups.zeros);
}

at::Tensor numbers(const std::deque<double>& values) {
  auto out = at::empty({static_cast<int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<double>());
  return out;
}

}  // namespace

void GaloreProjector::append_state(const std::string& prefix, Optimizer::NamedTensors& out) const {
  if (left_) append_basis(prefix + "projector_left", *left_, out);
  if (right_) append_basis(prefix + "projector_right", *right_, out);
  if (!direction_.defined()) return;
  out.emplace_back(prefix + "direction", direction_);
  out.emplace_back(prefix + "cosines", numbers(cosines_));
  out.emplace_back(prefix + "gap", numbers({static_cast<double>(gap_)}));
}

void GaloreProjector::load(const std::string& prefix, at::IntArrayRef shape, at::Device device,
                           SavedState& saved) {
  const auto low = low_shape(shape);
  if (projects_left(shape))
    left_ = loaded(prefix + "projector_left", {shape[0], low[0]}, device, saved);
  if (projects_right(shape))
    right_ = loaded(prefix + "projector_right", {low[1], shape[1]}, device, saved);
  if (!options_.quantization) return;
  direction_ = saved.take(prefix + "direction", device);
  const auto cosines = saved.take(prefix + "cosines", at::kCPU);
  const auto* values = cosines.const_data_ptr<double>();
  cosines_.assign(values, values + cosines.numel());
  gap_ = static_cast<int64_t>(saved.take(prefix + "gap", {1}, at::kCPU).item<double>());
}

GaloreProjector::Basis GaloreProjector::loaded(const std::string& name, std::vector<int64_t> shape,
                                               at::Device device, SavedState& saved) const {
  if (!options_.proj_quant) return saved.take(name, shape, device);
  tuners::QuantizedGroups groups;
  groups.codes = saved.take(name + ".codes", device);
  groups.scales = saved.take(name + ".scales", device);
  groups.zeros = saved.take(name + ".zeros", device);
  groups.shape = std::move(shape);
  groups.bits = options_.proj_bits;
  groups.group = options_.proj_group_size;
  return groups;
}

}  // namespace tunefleet::trainer
