#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tuners/config/adalora_options.h"
#include "tuners/linear_adapter.h"
#include "tuners/rank_allocator.h"

namespace tunefleet::tuners {

/// A low-rank update of a frozen linear layer in the form of a singular value decomposition:
///   y = next(x) + lora_alpha / (init_r + 1e-5) * dropout(x) (E o A)^T B^T
/// A [r, in], E [r, 1], B [out, r], float32. Starts as the identity: E is zero.
/// Source: Zhang et al. 2023, arXiv:2303.10512, eq. 3; PEFT's SVDLinear.
class AdaloraLinear : public LinearLayerTuner {
 public:
  /// `kept`: empty, or which of the init_r triplets the file to be loaded has.
  AdaloraLinear(const LinearSite& site, const std::string& adapter_name,
                const AdaloraOptions& options, std::vector<bool> kept, uint64_t seed);

  std::optional<LowRankUpdate> low_rank() const override;
  at::Tensor forward(const at::Tensor& x, const LinearNext& next,
                     const ForwardContext& context) const override;
  at::Tensor delta_weight() const override;
  /// The factors; while triplets are masked, what files have in their place: the others.
  std::vector<LayerTensor> tensors() const override;

  /// The factors with all triplets; those that no file has brought are not `present`.
  SvdTriplets triplets() const;
  /// ||A A^T - I|| + ||B^T B - I||, Frobenius, of the triplets that are present.
  at::Tensor orthogonality() const;
  /// Files leave out what is masked. Empty: nothing is.
  void set_kept(std::vector<bool> kept);
  /// Takes up the triplets of a file. `present`: what is there by now.
  void loaded(std::vector<bool> present);

 private:
  at::Tensor scaled_a() const;  ///< E o A

  double scaling_;
  double dropout_;
  uint64_t stream_;  ///< Of the dropout's draws.
  at::Tensor a_, e_, b_;
  std::vector<bool> present_;
  at::Tensor present_mask_;  ///< float32 [r, 1]; undefined: all are present.
  at::Tensor kept_;          ///< int64: numbers of the triplets that files have; undefined: all.
  at::Tensor stored_a_, stored_e_, stored_b_;
  bool from_file_ = false;  ///< The stored ones are still to be taken up.
};

/// AdaLoRA on a whole model. After every optimizer step its RankAllocator shares out the ranks; the
/// schedule's length is total_step, or the job's. In memory all triplets stay, since a masked one
/// may come back; files have those that are left, as PEFT's do. A resumed run gets the others from
/// state().
class AdaloraAdapter : public LinearAdapter {
 public:
  /// kInvalidArgument: the options do not fit the model.
  static Result<std::unique_ptr<Adapter>> make(const TunerOptions& options,
                                               const AdapterRequest& request);

  /// With a total_step that PEFT accepts, also before the first step.
  std::string config_text(FileLayout layout) const override;
  /// orth_reg_weight * the mean over all A and B of their distance from orthogonality.
  at::Tensor regularization() const override;
  /// Takes the schedule's length from the run when the options do not say. Throws
  /// std::invalid_argument when no step is left in which ranks can fall.
  bool before_step(const StepInfo& info) override;
  bool after_step(const StepInfo& info) override;
  std::vector<AdapterTensor> state() const override;
  void loaded() override;

 private:
  using LinearAdapter::LinearAdapter;
  const AdaloraOptions& own() const { return options().as<AdaloraOptions>(); }
  AdaloraLinear& layer(size_t i) const;
  std::vector<std::string> paths() const;
  /// Files leave out what the masks do from now on.
  void use_masks();

  std::unique_ptr<RankAllocator> allocator_;
  RankAllocator::Masks masks_;
  at::Tensor present_;  ///< uint8 [layers, init_r]: the triplets that are there; of state().
};

}  // namespace tunefleet::tuners
