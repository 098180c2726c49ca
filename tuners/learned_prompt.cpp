#include "tuners/learned_prompt.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>

#include <utility>

namespace tunefleet::tuners {
namespace {

constexpr std::string_view kValuesKey = "prompt_embeddings";

}  // namespace

LearnedPrompt::LearnedPrompt(const at::Tensor& values, const TunerPlace& place)
    : values_(trained(values, place)) {}

LearnedPrompt::LearnedPrompt(const at::Tensor& tokens, std::unique_ptr<PromptNetwork> network,
                             bool fresh, const TunerPlace& place)
    : source_(fresh ? Source::kNetwork : Source::kLoading),
      tokens_(trained(tokens, place)),
      network_(std::move(network)) {
  values_ = made();
}

at::Tensor LearnedPrompt::made() const {
  const at::NoGradGuard no_grad;
  return network_->forward(tokens_, {});
}

at::Tensor LearnedPrompt::values(const ForwardContext& context) const {
  return source_ == Source::kNetwork ? network_->forward(tokens_, context) : values_;
}

std::vector<AdapterTensor> LearnedPrompt::tensors(const std::string& adapter_name) const {
  const std::string stem = c10::str("prompt_encoder.", adapter_name, ".");
  AdapterTensor values{.key = std::string(kValuesKey),
                       .path = stem + "embedding.weight",
                       .tensor = values_,
                       .peft_prefix = ""};
  if (source_ == Source::kValues) return {values};
  const at::NoGradGuard no_grad;
  if (source_ == Source::kNetwork) values.tensor.copy_(made());
  values.path = stem + std::string(kValuesKey);
  values.trains = false;
  values.derived = true;
  std::vector<AdapterTensor> tensors;
  std::vector<LayerTensor> own{{.name = "embedding.weight", .tensor = tokens_}};
  for (auto& tensor : network_->tensors()) own.push_back(std::move(tensor));
  for (const auto& tensor : own) {
    tensors.push_back({.key = "prompt_encoder." + tensor.name,
                       .path = stem + tensor.name,
                       .tensor = tensor.tensor,
                       .decay = tensor.decay,
                       .peft_prefix = "",
                       .optional = true,
                       .swift_only = true});
  }
  tensors.push_back(std::move(values));
  return tensors;
}

void LearnedPrompt::loaded() {
  if (source_ != Source::kLoading) return;
  const at::Tensor from_network = made();
  const double scale = values_.abs().max().item<double>();
  const bool same = from_network.sub(values_).abs().max().item<double>() <= 1e-5 * scale;
  source_ = same ? Source::kNetwork : Source::kValues;
}

}  // namespace tunefleet::tuners
