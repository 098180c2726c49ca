#include "tuners/lora_adapter.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <utility>

#include "tuners/lora.h"

namespace tunefleet::tuners {
namespace {

at::ScalarType lora_dtype(const LoraOptions& options) {
  if (options.lora_dtype == "bfloat16") return at::kBFloat16;
  if (options.lora_dtype == "float16") return at::kHalf;
  return at::kFloat;
}

Status check_rank(const LoraOptions& options, const LinearSite& site) {
  const int64_t r = rank_of(options, site.path);
  const int64_t limit = std::min(site.in_features(), site.out_features());
  if (r <= limit) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      c10::str("LoRA rank is larger than the layer, lower it (rank_pattern does so for single "
               "modules): r ",
               r, ", ", site.path, " is [", site.out_features(), ", ", site.in_features(), "]"));
}

Result<std::unique_ptr<LinearLayerTuner>> make_layer(const LoraOptions& options,
                                                     const AdapterRequest& request,
                                                     const LinearSite& site) {
  if (request.fresh) {
    if (auto status = check_rank(options, site); !status) return fail(status.error());
  }
  LoraLinear::Settings settings{.r = rank_of(options, site.path),
                                .scaling = scaling_of(options, site.path),
                                .dropout = options.lora_dropout,
                                .init = options.init_lora_weights,
                                .dtype = lora_dtype(options)};
  return std::make_unique<LoraLinear>(site, request.name, std::move(settings), request.seed);
}

}  // namespace

Result<std::unique_ptr<Adapter>> LoraAdapter::make(const TunerOptions& options,
                                                   const AdapterRequest& request) {
  std::unique_ptr<LoraAdapter> adapter(new LoraAdapter(options, request.name));
  const auto status = adapter->attach(request, [&](const LinearSite& site) {
    return make_layer(options.as<LoraOptions>(), request, site);
  });
  if (!status) return fail(status.error());
  return adapter;
}

std::vector<AdapterTensor> LoraAdapter::tensors() const {
  auto tensors = LinearAdapter::tensors();
  const double ratio = lora().lorap_lr_ratio.value_or(1.0);
  for (auto& entry : tensors) {
    const bool is_b = entry.path.find(".lora_B.") != std::string::npos;
    if (is_b || entry.tensor.dim() == 1) entry.lr_scale = ratio;
  }
  return tensors;
}

}  // namespace tunefleet::tuners
