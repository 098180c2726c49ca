#include "tuners/trainable_tokens.h"

#include <c10/util/StringUtil.h>

#include "tuners/config/target_match.h"

namespace tunefleet::tuners {
namespace {

/// The file names the input embedding, as PEFT's does.
Result<TrainableTokensOptions> resolved_for(TrainableTokensOptions options, BaseModel& base) {
  if (!options.origin.base_model_name_or_path)
    options.origin.base_model_name_or_path = base.name_or_path();
  if (!options.target_modules.empty()) return options;
  const auto embeddings = base.embedding_sites();
  if (embeddings.empty())
    return fail(ErrorCode::kInvalidArgument, "trainable_tokens: the model has no embedding");
  options.target_modules.regex = embeddings.front()->path;
  return options;
}

Result<std::vector<TrainedTokens>> wanted_tokens(const TrainableTokensOptions& options,
                                                 BaseModel& base) {
  const auto matcher =
      TargetMatcher::create({.target_modules = {.names = options.target_modules.names,
                                                .regex = options.target_modules.regex}});
  if (!matcher) return fail(matcher.error());
  std::vector<std::string> candidates;
  for (const EmbeddingSite* site : base.embedding_sites()) candidates.push_back(site->path);
  candidates.push_back(base.output_embedding());
  std::vector<TrainedTokens> tokens;
  for (const auto& path : candidates) {
    const auto match = matcher->check(path);
    if (!match) return fail(match.error());
    if (*match == TargetMatch::kYes)
      tokens.push_back({.module = path, .rows = options.token_indices});
  }
  if (!tokens.empty()) return tokens;
  const auto& asked = options.target_modules;
  return fail(
      ErrorCode::kInvalidArgument,
      c10::str("target_modules match no embedding, the model has [", c10::Join(", ", candidates),
               "]: \"", asked.regex ? *asked.regex : c10::Join(", ", asked.names), "\""));
}

}  // namespace

Result<std::unique_ptr<Adapter>> TrainableTokensAdapter::make(const TunerOptions& options,
                                                              const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  auto own = resolved_for(options.as<TrainableTokensOptions>(), request.base);
  if (!own) return fail(own.error());
  const auto tokens = wanted_tokens(*own, request.base);
  if (!tokens) return fail(tokens.error());
  auto parts = TokenParts::make(request.base, *tokens);
  if (!parts) return fail(parts.error());
  if (!own->init_weights) parts->draw(request.name, request.seed);
  return std::unique_ptr<Adapter>(
      new TrainableTokensAdapter(*std::move(own), request.name, *std::move(parts)));
}

void TrainableTokensAdapter::merge_into(const EmbeddingPart& part, LayerWeights& weights) const {
  static_cast<const EmbeddingLayerTuner*>(part.tuner)->merge_into(weights);
}

void TrainableTokensAdapter::merge_into(const SiteTuner& part, LayerWeights& weights) const {
  static_cast<const LinearLayerTuner*>(part.tuner)->merge_into(weights);
}

}  // namespace tunefleet::tuners
