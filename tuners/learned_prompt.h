#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "tuners/adapter.h"
#include "tuners/prompt_networks.h"

namespace tunefleet::tuners {

/// The values of virtual tokens, float32 [P, W]: either trained themselves, or made by a network
/// from trained tokens.
///
/// PEFT's files hold the values alone. Our own hold what makes them too, so that a reloaded adapter
/// goes on as it was; one that comes from PEFT goes on with the values themselves:
///   kNetwork --save in PEFT's layout, load--> kLoading --loaded(), no network--> kValues
///   kNetwork --save in our layout, load-----> kLoading --loaded()--------------> kNetwork
class LearnedPrompt {
 public:
  explicit LearnedPrompt(const at::Tensor& values, const TunerPlace& place);
  /// `tokens`: start values. `fresh`: false when the values come from a file next.
  LearnedPrompt(const at::Tensor& tokens, std::unique_ptr<PromptNetwork> network, bool fresh,
                const TunerPlace& place);

  /// Differentiable.
  at::Tensor values(const ForwardContext& context) const;
  int64_t count() const { return values_.size(0); }
  std::vector<AdapterTensor> tensors(const std::string& adapter_name) const;
  /// See Adapter::loaded.
  void loaded();

 private:
  enum class Source { kValues, kNetwork, kLoading };
  at::Tensor made() const;  ///< By the network as in evaluation, without a gradient.

  Source source_ = Source::kValues;
  at::Tensor values_;  ///< What trains, or what the network made when `tensors` was called last.
  at::Tensor tokens_;
  std::unique_ptr<PromptNetwork> network_;
};

}  // namespace tunefleet::tuners
