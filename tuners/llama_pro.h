#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/llama_pro_options.h"

namespace tunefleet::tuners {

/// LLaMA PRO: after every stride-th layer of the list stands a copy of it, stride = layers /
/// num_groups, whose attention and feed-forward end in zeros, so that it starts as the identity.
/// The copies train, in the base's dtype, and nothing else. Merging makes them layers of the base.
/// Source: Wu et al. 2024, arXiv:2401.02415, section 3.2; ms-swift puts one copy behind each group.
///
/// Files hold the copies under the names that they have in the longer list
/// ("model.layers.2.mlp.down_proj.weight"), which ms-swift does too.
class LlamaProAdapter : public Adapter {
 public:
  /// kInvalidArgument: a model without a list of layers, or numbers that do not divide it.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::vector<AdapterTensor> tensors() const override;
  std::vector<LayerList::Insertion> insertions() const override;
  std::vector<ParameterOverride> overrides() const override;
  bool can_merge() const override { return true; }
  std::vector<std::unique_ptr<BlockCopy>> release_blocks() override;

 private:
  struct NewLayer {
    int64_t after = 0;                 ///< The original layer it follows and copies.
    std::unique_ptr<BlockCopy> block;  ///< Null when the base has taken it over.
  };
  /// One parameter of a copy. Its slot's `base` has the same memory without a gradient, so that the
  /// trained tensor is installed, and stood in for, as any replaced parameter is.
  struct NewParameter {
    ParameterSlot* slot = nullptr;
    std::string key;   ///< Its path in the longer list.
    std::string path;  ///< That with the adapter's name in it.
    at::Tensor value;
  };

  LlamaProAdapter(const TunerOptions& options, std::string name)
      : name_(std::move(name)), options_(options) {}
  void add_layer(LayerList& list, int64_t after);

  std::string name_;
  TunerOptions options_;
  std::vector<NewLayer> layers_;
  std::vector<NewParameter> parameters_;  ///< In the order of the layers.
};

}  // namespace tunefleet::tuners
