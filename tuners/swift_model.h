#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/tuner_options.h"
#include "tuners/merged_weights.h"
#include "tuners/offload.h"
#include "tuners/per_thread.h"
#include "tuners/sites.h"
#include "tuners/trainable_set.h"
#include "tuners/weighted_adapter.h"

namespace tunefleet::tuners {

/// One group of an optimizer: tensors with the same settings.
struct ParameterGroup {
  std::vector<TrainableTensor> tensors;
  double lr = 0.0;
  double weight_decay = 0.0;
};

/// A base model with any number of named adapters on it, of any types.
///
/// An adapter is inactive (without effect), active (takes part in the forward pass and trains), or
/// merged (active, its update part of the base's weights; does not train). The state after a call
/// depends only on which adapters are in which state, never on the calls that led there: every
/// change installs everything anew. So a deactivated adapter leaves nothing behind, also when it
/// was merged, and several adapters merge in the order in which they were added.
///
/// **Merging never writes into the base's tensors** (they may be a read-only mapping of the file):
/// the merged weight is a new tensor in the parameter's slot, original + sum of deltas, added in
/// float32 and rounded once to the base's dtype. The original stays where it is and unmerging puts
/// it back: bit for bit, at the price of a second copy of the merged weights (none of the resident
/// memory, when the base is mapped and can be dropped by the kernel).
///
/// Its code: swift_model.cpp (what is on the model), swift_model_activation.cpp (states, threads),
/// swift_model_merging.cpp, swift_model_training.cpp; saving in swift_files.cpp.
///
/// The base model is not owned and lives longer; destroying this restores it. One thread at a time,
/// and not during a forward pass - unless each thread has its own active adapters
/// (ActiveSet::kPerThread): then threads activate, deactivate and run side by side, a new thread
/// sees none active until it activates some and takes its set along when it ends, and what would
/// show in other threads is refused: merging, off-loading, adapters that change the list of layers
/// or the sequence, deleting one that is active in another thread.
class SwiftModel {
 public:
  enum class ActiveSet { kShared, kPerThread };
  /// kPerThread when the environment says USE_UNIQUE_THREAD=0, as in ms-swift.
  static ActiveSet active_set_from_environment();

  /// `seed`: of the adapters' initial values. No other thread uses `base` before this has returned.
  explicit SwiftModel(BaseModel& base, uint64_t seed = 42,
                      ActiveSet active_set = active_set_from_environment());
  ~SwiftModel();
  SwiftModel(const SwiftModel&) = delete;
  SwiftModel& operator=(const SwiftModel&) = delete;

  /// Puts a new tuner on the model and activates it. kConflict when the name is taken or the
  /// adapter replaces a parameter that an active one replaces too; kInvalidArgument when the
  /// options do not fit the model. On an error nothing has changed.
  [[nodiscard]] Status add_adapter(const std::string& name, const TunerOptions& options);
  /// Likewise for one that is already made. `trainable`: whether its tensors require grad.
  [[nodiscard]] Status add_adapter(std::unique_ptr<Adapter> adapter, bool trainable = true);
  /// Likewise for one that `make` makes, to be called while the list has `layers` layers; 0: those
  /// of the plain model. kInvalidArgument when it cannot have that many with what is active now.
  [[nodiscard]] Status add_adapter(const std::function<Result<std::unique_ptr<Adapter>>()>& make,
                                   int64_t layers, bool trainable);
  /// kConflict when another adapter acts on layers that this one brings (LLaMA PRO).
  [[nodiscard]] Status delete_adapter(const std::string& name);

  /// Puts a LoRA adapter on the model that is `adapters` together by `weights`, and makes it the
  /// only active one. Errors: combine_lora; kNotFound and kConflict for the names.
  [[nodiscard]] Status add_weighted_adapter(const std::vector<std::string>& adapters,
                                            const std::vector<double>& weights,
                                            const std::string& adapter_name,
                                            const Combination& how = {});

  /// Unknown names are kNotFound and list the known ones. Two active adapters must not replace the
  /// same parameter (modules_to_save, biases), nor one replace what another is merged into:
  /// kConflict.
  [[nodiscard]] Status activate_adapter(const std::string& name);
  /// `offload`: where its tensors go until it is activated again. kResourceExhausted: they could
  /// not be moved; then it is inactive all the same.
  [[nodiscard]] Status deactivate_adapter(const std::string& name,
                                          Offload offload = Offload::kNone);
  /// Activates these and deactivates all others. An empty list leaves the plain base.
  [[nodiscard]] Status set_active_adapters(const std::vector<std::string>& names,
                                           Offload offload = Offload::kNone);

  /// Makes the updates of the named active adapters (empty: of all active ones) part of the
  /// weights; again is the same as once. kInvalidArgument for an inactive adapter, for a tuner that
  /// cannot merge, and where another active adapter replaces a weight or bias that would change.
  [[nodiscard]] Status merge(const std::vector<std::string>& names = {});
  /// Takes the updates of the named adapters (empty: of all merged ones) out again, bit for bit.
  [[nodiscard]] Status unmerge(const std::vector<std::string>& names = {});
  /// Merges the named adapters (empty: every active one) for good, their trained copies included,
  /// and removes them. Others stay as they are.
  [[nodiscard]] Status merge_and_unload(const std::vector<std::string>& names = {});

  /// Writes adapters as ms-swift does (swift_files.h; defined there), all of them when no names are
  /// given. As in the document, `safe_serialization` false (the default) means adapter_model.bin;
  /// services write safetensors.
  [[nodiscard]] Status save_pretrained(const std::filesystem::path& save_directory,
                                       bool safe_serialization = false,
                                       const std::vector<std::string>& adapter_names = {}) const;

  std::vector<std::string> adapter_names() const;    ///< In the order of adding.
  std::vector<std::string> active_adapters() const;  ///< Merged ones included.
  std::vector<std::string> merged_adapters() const;
  /// Null when there is none of that name; valid until it is deleted.
  const Adapter* find_adapter(const std::string& name) const;
  BaseModel& base() const { return base_; }
  /// Calls `use` while the layers have the numbers that they had when the adapter was put on, which
  /// are those of its keys in files: others may have put layers between them since. `layers`: how
  /// many there are then, 0 when they are those of the plain model. kNotFound.
  [[nodiscard]] Status with_layers_of(const std::string& name,
                                      const std::function<Status(int64_t layers)>& use) const;

  /// What trains now: the tensors of active, unmerged, trainable adapters; adapters in the order of
  /// adding, tensors in the order of the model. The version moves with every change of adapters or
  /// their states.
  TrainableSet trainable_set() const;
  /// The trainable set in groups of equal settings, those with decay before those without: first
  /// what trains at `lr`, then what has a learning rate of its own, then multiples of `lr` (LoRA+'s
  /// B). Empty groups are left out.
  std::vector<ParameterGroup> create_optimizer_param_groups(double lr, double weight_decay) const;
  /// "trainable params: 100M || all params: 1000M || trainable%: 10.00% || cuda memory: 10GiB.",
  /// the document's format: counts in millions with at most four decimals, GiB with at most two.
  /// Shared parameters count once, those of inactive adapters too.
  std::string get_trainable_parameters(double cuda_memory_gib = 0.0) const;

  // The steps of training, told to every adapter that trains (see Adapter). True: the trainable set
  // has changed, and its version moved.
  bool before_step(const StepInfo& info);
  bool after_backward(const StepInfo& info);
  bool after_step(const StepInfo& info);
  /// The sum over the adapters; undefined for none.
  at::Tensor regularization() const;
  /// What a resumed run needs beside the adapters' files, to be filled in place.
  std::vector<AdapterTensor> state() const;
  /// After state() has been filled.
  void loaded();

 private:
  struct Entry {
    std::unique_ptr<Adapter> adapter;
    bool trainable = true;
    PerThread<bool> active{};
    bool merged = false;
    std::string on{};  ///< The adapter whose layers stood in the list when this one was made.
    OffloadedTensors offloaded{};
  };
  using Entries = std::vector<Entry>;

  /// Active, not merged, made to train.
  std::vector<Adapter*> training_adapters() const;
  bool set_changes(bool (Adapter::*hook)(const StepInfo&), const StepInfo& info);
  Result<size_t> index_of(const std::string& name) const;
  Result<std::vector<size_t>> indices_of(const std::vector<std::string>& names) const;
  Result<std::vector<size_t>> active_indices() const;
  std::vector<bool> active_flags() const;
  Status check_overrides(const std::vector<bool>& active) const;
  Status check_exclusive(const std::vector<bool>& active) const;
  Status check_unused(size_t index) const;
  Status check_merge(const std::vector<size_t>& indices, const std::vector<bool>& active) const;
  Status check_threads(const Adapter& adapter) const;
  Status refuse_for_threads(const std::string& what) const;
  Status set_active(const std::vector<bool>& active);
  /// What the adapter of that name puts into the list of layers; nothing when there is none.
  std::vector<LayerList::Insertion> insertions_of(const std::string& name) const;
  std::string active_insertions() const;  ///< The adapter whose layers stand in the list; or "".
  Status move_out(const std::vector<size_t>& indices, Offload offload);
  std::unique_lock<std::recursive_mutex> guard() const;
  void install();  ///< Makes the model what the entries say.
  void install_parts(const Adapter& adapter, bool merged);
  void remove_all();
  /// Calls `change` with every list of tuners and every override of the base.
  template <typename Change>
  void for_each_active_value(const Change& change);
  void make_permanent(const std::vector<size_t>& indices);

  BaseModel& base_;
  uint64_t seed_;
  bool per_thread_;
  mutable std::recursive_mutex mutex_;  ///< Taken only where threads have their own sets.
  uint64_t version_ = 0;
  Entries entries_;
  MergedWeights merged_weights_;
};

/// The adapters of those names; all of them when `names` is empty. kNotFound listing the known
/// ones.
Result<std::vector<const Adapter*>> adapters_named(const SwiftModel& model,
                                                   const std::vector<std::string>& names);

}  // namespace tunefleet::tuners
