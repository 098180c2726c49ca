#include "tuners/lycoris_dropout.h"

#include <ATen/ops/empty.h>

#include "tuners/random.h"

namespace tunefleet::tuners {
namespace {

RandomStream draws(const ForwardContext& context, uint64_t stream) {
  return {mix(context.seed, static_cast<uint64_t>(context.step)), stream};
}

}  // namespace

LycorisDropout::LycorisDropout(const Rates& rates, const std::string& path,
                               const std::string& adapter_name)
    : rates_(rates),
      rank_stream_(stream_id(path + ".rank_dropout." + adapter_name)),
      module_stream_(stream_id(path + ".module_dropout." + adapter_name)) {}

bool LycorisDropout::skips(const ForwardContext& context) const {
  if (!context.training || rates_.module <= 0.0) return false;
  return draws(context, module_stream_).uniform() < rates_.module;
}

at::Tensor LycorisDropout::factors(int64_t out, const ForwardContext& context,
                                   at::Device device) const {
  if (!context.training || rates_.rank <= 0.0) return {};
  at::Tensor kept = at::empty({out}, at::kFloat);
  auto* values = kept.mutable_data_ptr<float>();
  RandomStream stream = draws(context, rank_stream_);
  int64_t count = 0;
  for (int64_t i = 0; i < out; ++i) {
    values[i] = stream.uniform() < rates_.rank ? 0.0F : 1.0F;
    count += values[i] > 0.0F ? 1 : 0;
  }
  if (rates_.scale && count > 0) kept.mul_(static_cast<double>(out) / static_cast<double>(count));
  return kept.to(device);
}

}  // namespace tunefleet::tuners
