#include "tuners/neftune.h"

#include <ATen/ops/empty.h>

#include <cmath>

#include "tuners/parallel.h"
#include "tuners/random.h"

namespace tunefleet::tuners {
namespace {

/// A row's numbers, uniform in [-bound, bound): two of each hash.
void draw_row(uint64_t key, double bound, float* row, int64_t width) {
  const auto scale = static_cast<float>(bound * 0x1.0p-31);
  for (int64_t c = 0; c < width; c += 2) {
    const uint64_t bits = mix(key, static_cast<uint64_t>(c));
    row[c] = static_cast<float>(static_cast<int32_t>(bits >> 32)) * scale;
    if (c + 1 < width) row[c + 1] = static_cast<float>(static_cast<int32_t>(bits)) * scale;
  }
}

/// float32 [N, width] on the CPU.
at::Tensor noise(const at::Tensor& token_keys, const Boundaries& boundaries, int64_t width,
                 double alpha, uint64_t key) {
  auto out = at::empty({token_keys.size(0), width}, at::kFloat);
  const auto* keys = token_keys.const_data_ptr<int64_t>();
  auto* rows = out.mutable_data_ptr<float>();
  for (size_t s = 0; s + 1 < boundaries.size(); ++s) {
    const int64_t begin = boundaries[s], end = boundaries[s + 1];
    const double bound = alpha / std::sqrt(static_cast<double>((end - begin) * width));
    at::parallel_for(begin, end, 64, [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        draw_row(mix(key, static_cast<uint64_t>(keys[n])), bound, rows + n * width, width);
    });
  }
  return out;
}

}  // namespace

NeftuneNoise::NeftuneNoise(const std::string& path, double noise_alpha)
    : noise_alpha_(noise_alpha), stream_(stream_id(path + ".neftune")) {}

at::Tensor NeftuneNoise::forward(const at::Tensor& ids, const TensorNext& next,
                                 const ForwardContext& context) const {
  const at::Tensor y = next(ids);
  if (!context.training || y.size(0) == 0) return y;
  TORCH_CHECK(context.token_keys.defined() && context.token_keys.size(0) == y.size(0),
              "NEFTune needs one token key a row in training: ",
              context.token_keys.defined() ? context.token_keys.numel() : 0, " for ", y.size(0));
  const uint64_t key = mix(mix(context.seed, static_cast<uint64_t>(context.step)), stream_);
  const Boundaries whole{0, static_cast<int32_t>(y.size(0))};
  const auto e = noise(context.token_keys, context.boundaries ? *context.boundaries : whole,
                       y.size(1), noise_alpha_, key);
  return y.add(e.to(y.device(), y.scalar_type(), /*non_blocking=*/true));
}

Result<std::unique_ptr<Adapter>> NeftuneAdapter::make(const TunerOptions& options,
                                                      const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  std::unique_ptr<NeftuneAdapter> adapter(new NeftuneAdapter(options, request.name));
  const double alpha = options.as<NeftuneOptions>().noise_alpha;
  for (EmbeddingSite* site : request.base.embedding_sites()) {
    adapter->places_.push_back(
        {.site = site, .noise = std::make_unique<NeftuneNoise>(site->path, alpha)});
  }
  if (!adapter->places_.empty()) return adapter;
  return fail(
      ErrorCode::kInvalidArgument,
      "NEFTune needs a model with embeddings, this one has none: " + request.base.name_or_path());
}

std::vector<EmbeddingPart> NeftuneAdapter::embedding_tuners() const {
  std::vector<EmbeddingPart> parts;
  for (const auto& place : places_)
    parts.push_back({.site = place.site, .tuner = place.noise.get()});
  return parts;
}

}  // namespace tunefleet::tuners
