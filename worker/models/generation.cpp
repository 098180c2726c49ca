#include "worker/models/generation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <numeric>

#include "tuners/random.h"

namespace tunefleet::models {
namespace {

/// Draws from softmax(logits / temperature) cut to top_k and top_p. logits float32 [V] on the CPU.
int32_t sample(const at::Tensor& logits, const GenerationOptions& options,
               tuners::RandomStream& random) {
  const auto probabilities = at::softmax(logits / options.temperature, -1);
  const float* p = probabilities.const_data_ptr<float>();
  std::vector<int32_t> order(static_cast<size_t>(probabilities.numel()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [p](int32_t a, int32_t b) { return p[a] > p[b]; });
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < order.size()) {
    order.resize(static_cast<size_t>(options.top_k));
  }
  double kept = 0.0;
  size_t count = 0;
  while (count < order.size() && (count == 0 || kept < options.top_p)) kept += p[order[count++]];
  double target = random.uniform() * kept;
  for (size_t i = 0; i < count; ++i) {
    target -= p[order[i]];
    if (target <= 0.0) return order[i];
  }
  return order[count - 1];
}

}  // namespace

std::vector<int32_t> generate(const Decoder& model, const std::vector<int32_t>& prompt,
                              const GenerationOptions& options,
                              const std::function<bool(int32_t)>& on_token) {
  TORCH_CHECK(!prompt.empty(), "the prompt is empty");
  const at::NoGradGuard no_grad;
  const tuners::ForwardContext context;
  const auto& stops = model.config().eos_token_ids;
  tuners::RandomStream random(options.seed, tuners::stream_id("generation"));
  auto cache = model.make_cache(static_cast<int64_t>(prompt.size()) + options.max_new_tokens);
  auto batch = single_sequence(prompt);
  std::vector<int32_t> out;
  while (static_cast<int64_t>(out.size()) < options.max_new_tokens) {
    const auto hidden = model.hidden_states(batch, context, &cache);
    const auto last =
        model.logits(hidden.narrow(0, hidden.size(0) - 1, 1), context)[0].to(at::kCPU, at::kFloat);
    const int32_t token = options.temperature > 0.0
                              ? sample(last, options, random)
                              : static_cast<int32_t>(last.argmax().item<int64_t>());
    out.push_back(token);
    if (on_token && !on_token(token)) break;
    if (options.stop_at_eos && std::find(stops.begin(), stops.end(), token) != stops.end()) break;
    batch = single_sequence({token}, static_cast<int32_t>(cache.length));
  }
  return out;
}

}  // namespace tunefleet::models
