#include "tuners/lora_adapter.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "tuners/config/rank_limit.h"
#include "tuners/lora.h"
#include "tuners/lora_embedding.h"

namespace tunefleet::tuners {
namespace {

at::ScalarType lora_dtype(const LoraOptions& options) {
  if (options.lora_dtype == "bfloat16") return at::kBFloat16;
  if (options.lora_dtype == "float16") return at::kHalf;
  return at::kFloat;
}

LoraLinear::Settings settings_at(const LoraOptions& options, const std::string& path) {
  return {.r = rank_of(options, path),
          .scaling = scaling_of(options, path),
          .dropout = options.lora_dropout,
          .init = options.init_lora_weights,
          .dtype = lora_dtype(options),
          .dora = options.use_dora,
          .bias = options.lora_bias};
}

Result<std::unique_ptr<LinearLayerTuner>> make_layer(const TunerOptions& options,
                                                     const AdapterRequest& request,
                                                     const LinearSite& site) {
  auto settings = settings_at(options.as<LoraOptions>(), site.path);
  if (base_init_of(settings.init)) {  // Its start is made anew from the base, of a file's too.
    auto status = check_rank(options, site.path, site.out_features(), site.in_features());
    if (!status) return fail(status.error());
  }
  return std::make_unique<LoraLinear>(site, request.name, std::move(settings), request.seed);
}

/// r / groups channels, which see every input, make the out / groups outputs of a group.
Status check_rank(const TunerOptions& options, const ConvSite& site) {
  const at::Tensor& kernels = site.weight.base;
  const int64_t inputs = kernels[0].numel() * site.groups;
  return check_rank(options, site.path, kernels.size(0), inputs * site.groups);
}

bool ends_with(const std::string& key, std::string_view end) { return key.ends_with(end); }

}  // namespace

Result<std::unique_ptr<Adapter>> LoraAdapter::make(const TunerOptions& options,
                                                   const AdapterRequest& request) {
  std::unique_ptr<LoraAdapter> adapter(new LoraAdapter(options, request.name));
  auto status = adapter->attach(
      request, [&](const LinearSite& site) { return make_layer(options, request, site); },
      {.linear = true, .embedding = true, .conv2d = true});
  if (status) status = adapter->add_embeddings(request);
  if (status) status = adapter->add_convolutions(request);
  if (status) status = adapter->add_tokens(request.base);
  if (!status) return fail(status.error());
  return adapter;
}

bool LoraAdapter::is_target(const std::string& path) const {
  return std::find(targets().begin(), targets().end(), path) != targets().end();
}

Status LoraAdapter::add_embeddings(const AdapterRequest& request) {
  for (EmbeddingSite* site : request.base.embedding_sites()) {
    if (!is_target(site->path)) continue;
    if (lora().lora_bias) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("lora_bias does not act on embeddings: ", site->path));
    }
    auto settings = settings_at(lora(), site->path);
    const auto& table = site->weight.base;
    auto status =
        request.fresh ? check_rank(options(), site->path, table.size(0), table.size(1)) : Status{};
    if (!status) return status;
    embeddings_.push_back({.site = site,
                           .tuner = std::make_unique<LoraEmbedding>(
                               *site, request.name, std::move(settings), request.seed)});
  }
  return {};
}

Status LoraAdapter::add_convolutions(const AdapterRequest& request) {
  for (ConvSite* site : request.base.conv_sites()) {
    if (!is_target(site->path)) continue;
    if (auto status = request.fresh ? check_rank(options(), *site) : Status{}; !status)
      return status;
    try {
      auto settings = settings_at(lora(), site->path);
      convolutions_.push_back({.site = site,
                               .tuner = std::make_unique<LoraConv>(
                                   *site, request.name, std::move(settings), request.seed)});
    } catch (const std::invalid_argument& problem) {
      return fail(ErrorCode::kInvalidArgument, c10::str(problem.what(), ", ", site->path));
    }
  }
  return {};
}

Status LoraAdapter::add_tokens(BaseModel& base) {
  const auto wanted = trained_tokens(lora());
  if (!wanted) return fail(wanted.error());
  auto parts = TokenParts::make(base, *wanted);
  if (!parts) return fail(parts.error());
  tokens_ = *std::move(parts);
  for (const auto& module : tokens_.modules()) {
    const auto trained = overrides();
    const bool saved = std::any_of(trained.begin(), trained.end(), [&](const auto& each) {
      return each.slot->path == module + ".weight";
    });
    if (!saved && !is_target(module)) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("a module whose tokens are in trainable_token_indices cannot be in "
                         "target_modules or modules_to_save: ",
                         module));
  }
  return {};
}

std::vector<AdapterTensor> LoraAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  const auto add = [&](const auto& layers) {
    for (const auto& [site, tuner] : layers) {
      for (const auto& tensor : tuner->tensors()) tensors.push_back(named(tensor, site->path));
    }
  };
  const auto append = [&](const std::vector<AdapterTensor>& more) {
    tensors.insert(tensors.end(), more.begin(), more.end());
  };
  add(embeddings_);
  append(LinearAdapter::tensors());
  add(convolutions_);
  append(tokens_.tensors(name(), "token_adapter.", false));
  for (auto& entry : tensors) {
    if (ends_with(entry.key, ".lora_magnitude_vector")) {  // A module whose file has no ".weight".
      entry.path += ".weight";
      entry.swift_key += ".weight";
    }
    if (!lora().lorap_lr_ratio) continue;
    const bool of_embedding =
        ends_with(entry.key, ".lora_embedding_A") || ends_with(entry.key, ".lora_embedding_B");
    const bool of_b = entry.path.find(".lora_B.") != std::string::npos;
    if (of_embedding) {
      entry.lr = lora().lorap_emb_lr;
      if (entry.lr == 0.0) entry.lr_scale = 0.0;
    } else if (of_b || entry.tensor.dim() == 1) {
      entry.lr_scale = *lora().lorap_lr_ratio;
    }
  }
  return tensors;
}

std::vector<SiteTuner> LoraAdapter::linear_tuners() const {
  auto tuners = LinearAdapter::linear_tuners();
  const auto tokens = tokens_.linear_tuners();
  tuners.insert(tuners.end(), tokens.begin(), tokens.end());
  return tuners;
}

std::vector<EmbeddingPart> LoraAdapter::embedding_tuners() const {
  std::vector<EmbeddingPart> tuners = tokens_.embedding_tuners();
  for (const auto& [site, tuner] : embeddings_) tuners.push_back({site, tuner.get()});
  return tuners;
}

std::vector<ConvPart> LoraAdapter::conv_tuners() const {
  std::vector<ConvPart> tuners;
  for (const auto& [site, tuner] : convolutions_) tuners.push_back({site, tuner.get()});
  return tuners;
}

bool LoraAdapter::can_merge() const {
  return LinearAdapter::can_merge() &&
         std::all_of(convolutions_.begin(), convolutions_.end(),
                     [](const auto& layer) { return layer.tuner->can_merge(); });
}

void LoraAdapter::merge_into(const EmbeddingPart& part, LayerWeights& weights) const {
  static_cast<const EmbeddingLayerTuner*>(part.tuner)->merge_into(weights);
}

void LoraAdapter::merge_into(const ConvPart& part, LayerWeights& weights) const {
  static_cast<const LoraConv*>(part.tuner)->merge_into(weights);
}

}  // namespace tunefleet::tuners
