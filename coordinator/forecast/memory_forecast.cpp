#include "coordinator/forecast/memory_forecast.h"

#include <algorithm>
#include <cmath>

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kRuntime = int64_t{150} << 20;
/// Logits of one chunk of the fused loss, and their gradient (worker/kernels/linear_cross_entropy).
constexpr int64_t kLossChunks = 2 * (int64_t{24} << 20);
/// Of the numbers one layer's forward pass makes for a token: kept for the backward pass, with the
/// copies that dropout and norms keep beside them;
constexpr double kKept = 1.5;
/// with checkpointing the one layer in work: made again, and the gradients of it.
constexpr double kInWork = 3.5;

int64_t bytes_of(const std::string& dtype) { return dtype == "float32" ? 4 : 2; }

/// Numbers that a layer's forward pass makes for one token: two norms, queries, attention's output,
/// its projection and the residual; keys and values; gate, up and their product.
double numbers_per_token(const tuners::ModelShapes& model) {
  const auto hidden = static_cast<double>(model.hidden_size);
  const auto kv = static_cast<double>(model.num_key_value_heads * model.head_dim);
  return 6 * hidden + 2 * kv + 3 * static_cast<double>(model.intermediate_size);
}

int64_t activations(const JobSpec& spec, const tuners::ModelShapes& model, int64_t width,
                    int64_t tokens) {
  const auto layers = static_cast<double>(model.num_layers);
  const double layer = numbers_per_token(model);
  const double inputs = layers * static_cast<double>(model.hidden_size);
  const double numbers =
      spec.gradient_checkpointing ? inputs + kInWork * layer : kKept * layers * layer;
  auto bytes = static_cast<int64_t>(numbers * static_cast<double>(width * tokens));
  if (spec.use_liger_kernel.value_or(true)) return bytes + kLossChunks;
  // Logits, their float32 softmax and the gradient.
  return bytes + tokens * model.vocab_size * (4 + 4 + width);
}

/// Full tuning's gradient of the embedding as it is made: in float32, and in the parameter's format
/// from each place that uses it, before it is added to the others.
int64_t embedding_gradient(const tuners::ModelShapes& model) {
  return model.vocab_size * model.hidden_size * (4 + 2 + 2);
}

/// First and second moment in the trained numbers' own format; Adafactor keeps sums of rows and
/// columns, next to nothing.
std::optional<int64_t> optimizer_bytes(const JobSpec& spec, int64_t trained_bytes) {
  if (spec.use_galore) return std::nullopt;
  return spec.optim == "adafactor" ? trained_bytes / 100 : 2 * trained_bytes;
}

}  // namespace

std::optional<int64_t> MemoryForecast::total() const {
  if (!optimizer) return std::nullopt;
  return runtime + weights + trainables + gradients + *optimizer + activations;
}

MemoryForecast forecast_memory(const JobSpec& spec, const tuners::ModelShapes& model,
                               int64_t trainable, int64_t tokens) {
  const int64_t width = bytes_of(spec.torch_dtype.value_or(model.dtype));
  const bool full = spec.tuner_type == "full" && spec.tuners.empty();
  const int64_t trained_width = full || spec.lora_dtype == "bfloat16" ? width : 4;
  const int64_t trained = trainable * trained_width;
  return {.runtime = kRuntime,
          .weights = model.parameter_count() * width,
          // Without preferences nothing reads the base beside what full tuning trains.
          .trainables = full && !spec.rlhf_type ? 0 : trained,
          .gradients = trained,
          .optimizer = optimizer_bytes(spec, trained),
          .activations =
              activations(spec, model, width, tokens) + (full ? embedding_gradient(model) : 0)};
}

}  // namespace tunefleet::coordinator
