#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/virtual_token_options.h"
#include "tuners/learned_prompt.h"

/// Prompt tuning, p-tuning and prefix tuning: learned tokens before every sequence of a language
/// model. See config/virtual_token_options.h for the papers; layouts are PEFT's.
namespace tunefleet::tuners {

/// Tokens that go through all layers as embeddings, [P, hidden_size].
class EmbeddedPrompt : public SequenceTuner {
 public:
  explicit EmbeddedPrompt(const LearnedPrompt& prompt) : prompt_(prompt) {}
  int64_t virtual_tokens() const override { return prompt_.count(); }
  at::Tensor embeddings(const ForwardContext& context) const override {
    return prompt_.values(context);
  }

 private:
  const LearnedPrompt& prompt_;
};

/// Tokens that are keys and values of every layer, in one matrix [P, 2 * L * KH * D]: columns
/// 2 l KH D … are the keys of layer l, the next KH D its values. They are taken as they are,
/// without positions.
class KeyValuePrefix : public SequenceTuner {
 public:
  KeyValuePrefix(const LearnedPrompt& prompt, int64_t layers, int64_t heads)
      : prompt_(prompt), layers_(layers), heads_(heads) {}
  int64_t virtual_tokens() const override { return prompt_.count(); }
  int64_t layers() const override { return layers_; }
  std::vector<KeysValues> keys_values(const ForwardContext& context) const override;

 private:
  const LearnedPrompt& prompt_;
  int64_t layers_, heads_;
};

/// An adapter that is one SequenceTuner.
class VirtualTokenAdapter : public Adapter {
 public:
  /// kInvalidArgument: a model that takes no virtual tokens, or another one than the file says;
  /// TEXT without token ids.
  static Result<std::unique_ptr<Adapter>> make_prompt_tuning(const TunerOptions& options,
                                                             const AdapterRequest& request);
  static Result<std::unique_ptr<Adapter>> make_p_tuning(const TunerOptions& options,
                                                        const AdapterRequest& request);
  static Result<std::unique_ptr<Adapter>> make_prefix_tuning(const TunerOptions& options,
                                                             const AdapterRequest& request);

  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::vector<AdapterTensor> tensors() const override { return prompt_.tensors(name_); }
  const SequenceTuner* sequence_tuner() const override { return tuner_.get(); }
  void loaded() override { prompt_.loaded(); }

 private:
  VirtualTokenAdapter(const TunerOptions& options, std::string name, LearnedPrompt prompt)
      : name_(std::move(name)), options_(options), prompt_(std::move(prompt)) {}
  static std::unique_ptr<Adapter> embedded(const TunerOptions& options, std::string name,
                                           LearnedPrompt prompt);

  std::string name_;
  TunerOptions options_;
  LearnedPrompt prompt_;
  std::unique_ptr<SequenceTuner> tuner_;
};

}  // namespace tunefleet::tuners
