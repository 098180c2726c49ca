#include "tuners/shira.h"

#include <ATen/ops/div.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include "tuners/initial_values.h"
#include "tuners/maps/tiled_map.h"
#include "tuners/torch_draws.h"

namespace tunefleet::tuners {
namespace {

/// PEFT's random_mask: the first n of a permutation of all weights, in the order of the weight.
at::Tensor random_indices(const ShiraOptions& options, int64_t n, int64_t out, int64_t in) {
  const at::Generator generator =
      options.random_seed ? torch_generator(*options.random_seed) : unseeded_torch_generator();
  const at::Tensor drawn = at::randperm(out * in, generator, at::kLong).slice(0, 0, n);
  const at::Tensor places = std::get<0>(at::sort(drawn));
  return at::stack({at::div(places, in, "floor"), at::remainder(places, in)}).to(at::kInt);
}

at::Tensor initial_weight(const LinearSite& site, const std::string& adapter_name,
                          const ShiraOptions& options, uint64_t seed) {
  const int64_t n = options.r * (site.in_features() + site.out_features());
  const RandomStream stream(seed, stream_id(site.path + ".shira_weight." + adapter_name));
  return options.init_weights ? at::zeros({n}, at::kFloat) : normal_values({n}, 1.0, stream);
}

}  // namespace

ShiraLinear::ShiraLinear(const LinearSite& site, const std::string& adapter_name,
                         const ShiraOptions& options, uint64_t seed, bool fresh)
    : MappedLinear(site, "shira_weight", initial_weight(site, adapter_name, options, seed),
                   nullptr),
      in_(site.in_features()),
      out_(site.out_features()) {
  const int64_t n = options.r * (in_ + out_);
  indices_ = fresh ? random_indices(options, n, out_, in_) : at::zeros({2, n}, at::kInt);
  indices_ = indices_.to(site.weight.base.device());
  take_indices();
}

void ShiraLinear::take_indices() {
  const at::Tensor host = indices_.to(at::kCPU, at::kLong).contiguous();
  const auto* row = host.const_data_ptr<int64_t>();
  const auto* col = row + host.size(1);
  const auto pattern = std::make_shared<const SparsePattern>(
      out_, in_, std::vector<int64_t>(row, col), std::vector<int64_t>(col, col + host.size(1)),
      indices_.device());
  set_map(std::make_shared<TiledMap>(TiledMapParts{
      .in = plain_basis(in_),
      .out = plain_basis(out_),
      .core = sparse_core(pattern),
      .dense = [pattern](const at::Tensor& values) { return pattern->dense(values); }}));
}

std::vector<LayerTensor> ShiraLinear::tensors() const {
  auto tensors = MappedLinear::tensors();
  tensors.push_back({.name = "shira_indices", .tensor = indices_, .trains = false});
  return tensors;
}

Result<std::unique_ptr<Adapter>> ShiraAdapter::make(const TunerOptions& options,
                                                    const AdapterRequest& request) {
  const auto& own = options.as<ShiraOptions>();
  std::unique_ptr<ShiraAdapter> adapter(new ShiraAdapter(options, request.name));
  const auto status = adapter->attach(
      request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        const int64_t in = site.in_features(), out = site.out_features();
        if (own.r > in * out / (in + out)) {
          return fail(ErrorCode::kInvalidArgument,
                      c10::str("SHiRA's r asks for more weights than the layer has, lower it: r ",
                               own.r, ", ", site.path, " is [", out, ", ", in, "]"));
        }
        return std::make_unique<ShiraLinear>(site, request.name, own, request.seed, request.fresh);
      });
  if (!status) return fail(status.error());
  return adapter;
}

void ShiraAdapter::loaded() {
  for (const auto& layer : layers()) static_cast<ShiraLinear*>(layer.tuner.get())->take_indices();
}

}  // namespace tunefleet::tuners
