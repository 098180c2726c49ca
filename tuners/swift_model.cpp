#include "tuners/swift_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "tuners/registry.h"

namespace tunefleet::tuners {
namespace {

/// Names become parts of tensor keys and folders.
Status check_name(const std::string& name) {
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
  if (plain && name != "extra_states") return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str("adapter names are letters, digits, '-' and '_' (and not extra_states): \"",
                       name, "\""));
}

Error unknown_adapter(const std::string& name, const std::vector<std::string>& known) {
  return {ErrorCode::kNotFound,
          c10::str("no such adapter on the model, it has [", c10::Join(", ", known), "]: ", name)};
}

std::string with_commas(int64_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<size_t>(at), 1, ',');
  return text;
}

TrainableTensor trainable_tensor(AdapterTensor tensor) {
  return {.path = std::move(tensor.path),
          .tensor = std::move(tensor.tensor),
          .decay = tensor.decay,
          .int8 = std::move(tensor.int8)};
}

/// A layer's weights in float32.
template <typename Site>
LayerWeights weights_of(const Site& site) {
  LayerWeights weights{.weight = site.weight.value().to(at::kFloat), .bias = {}};
  if constexpr (requires { site.bias; }) {
    if (site.bias.base.defined()) weights.bias = site.bias.value().to(at::kFloat);
  }
  return weights;
}

}  // namespace

SwiftModel::ActiveSet SwiftModel::active_set_from_environment() {
  const char* value = std::getenv("USE_UNIQUE_THREAD");
  return value != nullptr && std::string_view(value) == "0" ? ActiveSet::kPerThread
                                                            : ActiveSet::kShared;
}

SwiftModel::SwiftModel(BaseModel& base, uint64_t seed, ActiveSet active_set)
    : base_(base), seed_(seed), per_thread_(active_set == ActiveSet::kPerThread) {
  if (!per_thread_) return;
  const auto separate = [](const auto& sites) {
    for (auto* site : sites) site->tuners.give_each_thread_its_own();
  };
  separate(base.linear_sites());
  separate(base.embedding_sites());
  separate(base.conv_sites());
  separate(base.module_sites());
  separate(base.attention_sites());
  for (auto* slot : base.parameters()) slot->override_value.give_each_thread_its_own();
}

SwiftModel::~SwiftModel() { remove_all(); }

Status SwiftModel::add_adapter(const std::string& name, const TunerOptions& options) {
  auto adapter = make_adapter(options, {.base = base_, .name = name, .seed = seed_, .fresh = true});
  if (!adapter) return fail(c10::str("adapter ", name), adapter.error());
  return add_adapter(*std::move(adapter));
}

std::unique_lock<std::recursive_mutex> SwiftModel::guard() const {
  return per_thread_ ? std::unique_lock(mutex_) : std::unique_lock<std::recursive_mutex>();
}

Status SwiftModel::refuse_for_threads(const std::string& what) const {
  if (!per_thread_) return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str(what,
                       " would show in all threads, and each has its own active adapters "
                       "(USE_UNIQUE_THREAD=0)"));
}

Status SwiftModel::check_threads(const Adapter& adapter) const {
  if (adapter.insertions().empty() && adapter.sequence_tuner() == nullptr) return {};
  return refuse_for_threads(
      c10::str("a tuner of this kind (", std::string(adapter.options().schema().name), ")"));
}

Status SwiftModel::add_adapter(std::unique_ptr<Adapter> adapter, bool trainable) {
  const auto lock = guard();
  const std::string& name = adapter->name();
  if (auto status = check_threads(*adapter); !status) return status;
  if (auto status = check_name(name); !status) return status;
  if (find_adapter(name) != nullptr) {
    return fail(ErrorCode::kConflict,
                c10::str("an adapter of that name is on the model, delete it first: ", name));
  }
  for (const auto& entry : entries_) {
    const TunerSchema& schema = adapter->options().schema();
    if (!adapter->is_single() || &entry.adapter->options().schema() != &schema) continue;
    return fail(ErrorCode::kConflict,
                c10::str("a model takes one ", std::string(schema.name),
                         ", delete the other first: ", name, ", ", entry.adapter->name()));
  }
  for (auto& entry : adapter->tensors()) {
    if (entry.trains) entry.tensor.set_requires_grad(trainable);
  }
  entries_.push_back(
      {.adapter = std::move(adapter), .trainable = trainable, .on = active_insertions()});
  if (per_thread_) entries_.back().active.give_each_thread_its_own();
  std::vector<bool> active;
  for (const auto& entry : entries_) active.push_back(entry.active);
  active.back() = true;
  auto status = set_active(active);
  if (!status) entries_.pop_back();
  return status;
}

Status SwiftModel::add_adapter(const std::function<Result<std::unique_ptr<Adapter>>()>& make,
                               int64_t layers, bool trainable) {
  LayerList* list = base_.layer_list();
  const std::string present = active_insertions();
  const bool plain = layers == 0 || list == nullptr || layers == list->size();
  if (!plain && layers != static_cast<int64_t>(list->origins().size())) {
    return fail(ErrorCode::kInvalidArgument,
                c10::str("the adapter is for a model with more layers, put on first the LLaMA PRO "
                         "adapter that brings them: it has ",
                         layers, ", this one ", list->origins().size()));
  }
  if (plain && !present.empty()) list->insert({});
  auto adapter = make();
  if (plain && !present.empty()) list->insert(insertions_of(present));
  if (!adapter) return fail(adapter.error());
  auto status = add_adapter(*std::move(adapter), trainable);
  if (status && plain) entries_.back().on.clear();
  return status;
}

Status SwiftModel::with_layers_of(const std::string& name,
                                  const std::function<Status(int64_t layers)>& use) const {
  const auto index = index_of(name);
  if (!index) return fail(index.error());
  LayerList* list = base_.layer_list();
  const auto wanted = insertions_of(entries_[*index].on);
  const auto present = insertions_of(active_insertions());
  const bool same =
      entries_[*index].on == active_insertions() || (wanted.empty() && present.empty());
  if (!same) list->insert(wanted);
  auto status = use(wanted.empty() ? 0 : static_cast<int64_t>(list->origins().size()));
  if (!same) list->insert(present);
  return status;
}

Status SwiftModel::delete_adapter(const std::string& name) {
  const auto lock = guard();
  const auto index = index_of(name);
  if (!index) return fail(index.error());
  if (auto status = check_unused(*index); !status) return status;
  const bool here = std::exchange(entries_[*index].active.get(), false);
  if (entries_[*index].active.any_thread([](bool active) { return active; })) {
    entries_[*index].active = here;
    return fail(
        ErrorCode::kConflict,
        c10::str("the adapter is active in another thread, deactivate it there first: ", name));
  }
  entries_[*index].active = entries_[*index].merged = false;
  install();
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(*index));
  return {};
}

Status SwiftModel::add_weighted_adapter(const std::vector<std::string>& adapters,
                                        const std::vector<double>& weights,
                                        const std::string& adapter_name, const Combination& how) {
  if (adapters.empty()) {
    return fail(ErrorCode::kInvalidArgument, "no adapters to combine are named");
  }
  const auto sources = adapters_named(*this, adapters);
  if (!sources) return fail(sources.error());
  auto combined = combine_lora(base_, *sources, weights, adapter_name, how);
  if (!combined) return fail(combined.error());
  const auto before = active_adapters();
  if (auto status = set_active_adapters({}); !status) return status;
  auto status = add_adapter(*std::move(combined));
  if (!status) std::ignore = set_active_adapters(before);
  return status;
}

Status SwiftModel::activate_adapter(const std::string& name) {
  const auto lock = guard();
  auto names = active_adapters();
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return set_active_adapters(names);
}

Status SwiftModel::deactivate_adapter(const std::string& name, Offload offload) {
  const auto lock = guard();
  if (const auto index = index_of(name); !index) return fail(index.error());
  auto names = active_adapters();
  names.erase(std::remove(names.begin(), names.end(), name), names.end());
  if (auto status = set_active_adapters(names); !status) return status;
  return move_out({*index_of(name)}, offload);
}

Status SwiftModel::set_active_adapters(const std::vector<std::string>& names, Offload offload) {
  const auto lock = guard();
  const auto indices = indices_of(names);
  if (!indices) return fail(indices.error());
  std::vector<bool> active(entries_.size(), false);
  for (const size_t index : *indices) active[index] = true;
  if (auto status = set_active(active); !status) return status;
  std::vector<size_t> others;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (!active[i]) others.push_back(i);
  }
  return move_out(others, offload);
}

Status SwiftModel::merge(const std::vector<std::string>& names) {
  if (auto status = refuse_for_threads("merging"); !status) return status;
  auto indices = names.empty() ? active_indices() : indices_of(names);
  if (!indices) return fail(indices.error());
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].merged) indices->push_back(i);
  }
  if (auto status = check_merge(*indices); !status) return status;
  for (const size_t index : *indices) entries_[index].merged = true;
  install();
  return {};
}

Status SwiftModel::unmerge(const std::vector<std::string>& names) {
  auto indices = names.empty() ? active_indices() : indices_of(names);
  if (!indices) return fail(indices.error());
  std::vector<size_t> left;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool out = std::find(indices->begin(), indices->end(), i) != indices->end();
    if (entries_[i].merged && !out) left.push_back(i);
  }
  if (auto status = check_merge(left); !status) return status;
  for (const size_t index : *indices) entries_[index].merged = false;
  install();
  return {};
}

Status SwiftModel::merge_and_unload(const std::vector<std::string>& names) {
  if (auto status = refuse_for_threads("merging"); !status) return status;
  auto indices = names.empty() ? active_indices() : indices_of(names);
  if (!indices) return fail(indices.error());
  if (auto status = check_merge(*indices); !status) return status;
  make_permanent(*indices);
  return {};
}

std::vector<std::string> SwiftModel::adapter_names() const {
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry.adapter->name());
  return names;
}

std::vector<std::string> SwiftModel::active_adapters() const {
  const auto lock = guard();
  std::vector<std::string> names;
  for (const auto& entry : entries_) {
    if (entry.active) names.push_back(entry.adapter->name());
  }
  return names;
}

std::vector<std::string> SwiftModel::merged_adapters() const {
  std::vector<std::string> names;
  for (const auto& entry : entries_) {
    if (entry.merged) names.push_back(entry.adapter->name());
  }
  return names;
}

const Adapter* SwiftModel::find_adapter(const std::string& name) const {
  for (const auto& entry : entries_) {
    if (entry.adapter->name() == name) return entry.adapter.get();
  }
  return nullptr;
}

std::vector<Adapter*> SwiftModel::training_adapters() const {
  std::vector<Adapter*> adapters;
  for (const auto& entry : entries_) {
    if (entry.active && !entry.merged && entry.trainable) adapters.push_back(entry.adapter.get());
  }
  return adapters;
}

TrainableSet SwiftModel::trainable_set() const {
  const auto lock = guard();
  TrainableSet set{.tensors = {}, .version = version_};
  for (const auto* adapter : training_adapters()) {
    for (auto& tensor : adapter->tensors()) {
      if (tensor.trains) set.tensors.push_back(trainable_tensor(std::move(tensor)));
    }
  }
  return set;
}

bool SwiftModel::set_changes(bool (Adapter::*hook)(const StepInfo&), const StepInfo& info) {
  bool changed = false;
  for (auto* adapter : training_adapters()) changed = (adapter->*hook)(info) || changed;
  if (changed) ++version_;
  return changed;
}

bool SwiftModel::before_step(const StepInfo& info) {
  return set_changes(&Adapter::before_step, info);
}

bool SwiftModel::after_backward(const StepInfo& info) {
  return set_changes(&Adapter::after_backward, info);
}

bool SwiftModel::after_step(const StepInfo& info) {
  return set_changes(&Adapter::after_step, info);
}

at::Tensor SwiftModel::regularization() const {
  at::Tensor sum;
  for (const auto* adapter : training_adapters()) {
    const auto part = adapter->regularization();
    if (part.defined()) sum = sum.defined() ? sum.add(part) : part;
  }
  return sum;
}

std::vector<AdapterTensor> SwiftModel::state() const {
  std::vector<AdapterTensor> state;
  for (const auto* adapter : training_adapters()) {
    for (auto& tensor : adapter->state()) state.push_back(std::move(tensor));
  }
  return state;
}

void SwiftModel::loaded() {
  for (auto* adapter : training_adapters()) adapter->loaded();
}

std::vector<ParameterGroup> SwiftModel::create_optimizer_param_groups(double lr,
                                                                      double weight_decay) const {
  // By kind (plain, own rate, multiple), rate, and decay (with decay: false).
  std::map<std::tuple<int, double, bool>, ParameterGroup> groups;
  for (const auto* adapter : training_adapters()) {
    for (auto& tensor : adapter->tensors()) {
      if (!tensor.trains) continue;
      const int kind = tensor.lr > 0.0 ? 1 : (tensor.lr_scale == 1.0 ? 0 : 2);
      const double rate = tensor.lr > 0.0 ? tensor.lr : lr * tensor.lr_scale;
      auto& group = groups[{kind, rate, !tensor.decay}];
      group.lr = rate;
      group.weight_decay = tensor.decay ? weight_decay : 0.0;
      group.tensors.push_back(trainable_tensor(std::move(tensor)));
    }
  }
  std::vector<ParameterGroup> ordered;
  for (auto& [key, group] : groups) ordered.push_back(std::move(group));
  return ordered;
}

std::string SwiftModel::get_trainable_parameters(double cuda_memory_gib) const {
  std::set<const void*> seen;
  int64_t all = 0;
  for (ParameterSlot* slot : base_.parameters()) {
    const auto original = originals_.find(slot);
    const at::Tensor& tensor = original == originals_.end() ? slot->base : original->second;
    if (tensor.defined() && seen.insert(tensor.const_data_ptr()).second) all += tensor.numel();
  }
  for (const auto& entry : entries_) {
    for (const auto& each : entry.adapter->tensors()) {
      const void* values = each.tensor.const_data_ptr();  // null: they lie elsewhere
      if (each.trains && (values == nullptr || seen.insert(values).second))
        all += each.tensor.numel();
    }
  }
  const int64_t trainable = trainable_set().numel();
  const double percent =
      all == 0 ? 0.0 : 100.0 * static_cast<double>(trainable) / static_cast<double>(all);
  char text[64];
  std::snprintf(text, sizeof(text), "%.4f|| cuda memory: %.2fGiB.", percent, cuda_memory_gib);
  return c10::str("trainable params: ", with_commas(trainable),
                  " || all params: ", with_commas(all), " || trainable%: ", text);
}

Result<size_t> SwiftModel::index_of(const std::string& name) const {
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].adapter->name() == name) return i;
  }
  return fail(unknown_adapter(name, adapter_names()));
}

Result<std::vector<size_t>> SwiftModel::indices_of(const std::vector<std::string>& names) const {
  std::vector<size_t> indices;
  for (const auto& name : names) {
    const auto index = index_of(name);
    if (!index) return fail(index.error());
    indices.push_back(*index);
  }
  return indices;
}

Result<std::vector<size_t>> SwiftModel::active_indices() const {
  return indices_of(active_adapters());
}

/// Virtual tokens, and blocks put into the list of layers, come from one adapter at a time; keys
/// and values are for one number of layers.
Status SwiftModel::check_exclusive(const std::vector<bool>& active) const {
  const Adapter* sequence = nullptr;
  const Adapter* layers = nullptr;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Adapter& adapter = *entries_[i].adapter;
    if (!active[i]) continue;
    const Adapter* other = nullptr;
    if (adapter.sequence_tuner() != nullptr) other = std::exchange(sequence, &adapter);
    if (other == nullptr && !adapter.insertions().empty()) other = std::exchange(layers, &adapter);
    if (other == nullptr) continue;
    return fail(ErrorCode::kConflict,
                c10::str("two active adapters of this kind do not go together, deactivate one "
                         "first: ",
                         other->name(), " and ", adapter.name()));
  }
  const int64_t wanted = sequence == nullptr ? 0 : sequence->sequence_tuner()->layers();
  if (wanted == 0 || base_.layer_list() == nullptr) return {};
  const auto more = layers == nullptr ? 0 : static_cast<int64_t>(layers->insertions().size());
  const int64_t count = base_.layer_list()->size() + more;
  if (count == wanted) return {};
  return fail(ErrorCode::kConflict,
              c10::str("the adapter's keys and values are for another number of layers than the "
                       "model has with what is active: ",
                       sequence->name(), " for ", wanted, " of ", count));
}

Status SwiftModel::check_overrides(const std::vector<bool>& active) const {
  std::map<const ParameterSlot*, const Adapter*> owners;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (!active[i]) continue;
    for (const auto& replaced : entries_[i].adapter->overrides()) {
      const auto [owner, first] = owners.emplace(replaced.slot, entries_[i].adapter.get());
      if (first) continue;
      return fail(ErrorCode::kConflict,
                  c10::str("two active adapters replace the same parameter, deactivate one first: ",
                           owner->second->name(), " and ", entries_[i].adapter->name(), ", ",
                           replaced.slot->path));
    }
  }
  return {};
}

/// Whether no other adapter acts on the blocks that this one has put into the list of layers.
Status SwiftModel::check_unused(size_t index) const {
  const auto insertions = entries_[index].adapter->insertions();
  const auto is_own = [&](const auto& part) {
    return std::any_of(insertions.begin(), insertions.end(),
                       [&](const auto& each) { return each.block->owns(part.site); });
  };
  const auto acts = [&](const auto& parts) {
    return std::any_of(parts.begin(), parts.end(), is_own);
  };
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Adapter& other = *entries_[i].adapter;
    const auto replaced = other.overrides();
    const bool uses = acts(other.linear_tuners()) || acts(other.module_tuners()) ||
                      acts(other.attention_tuners()) ||
                      std::any_of(replaced.begin(), replaced.end(), [&](const auto& each) {
                        return is_own(SitePart<ParameterSlot, void>{.site = each.slot});
                      });
    if (i == index || !uses) continue;
    return fail(ErrorCode::kConflict,
                c10::str("another adapter acts on the layers that this one brings, delete that one "
                         "first: ",
                         other.name(), " on those of ", entries_[index].adapter->name()));
  }
  return {};
}

/// `indices`: all that will be merged then.
Status SwiftModel::check_merge(const std::vector<size_t>& indices) const {
  std::set<const ParameterSlot*> replaced;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool merges = std::find(indices.begin(), indices.end(), i) != indices.end();
    if (!entries_[i].active || merges) continue;
    for (const auto& each : entries_[i].adapter->overrides()) replaced.insert(each.slot);
  }
  for (const size_t index : indices) {
    const Entry& entry = entries_[index];
    const std::string& name = entry.adapter->name();
    if (!entry.active) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("only an active adapter can be merged, activate it first: ", name));
    }
    if (!entry.adapter->can_merge()) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("this tuner's effect cannot be merged into weights: ", name, " (",
                           std::string(entry.adapter->options().schema().name), ")"));
    }
    for (const auto& [site, tuner] : entry.adapter->linear_tuners()) {
      if (!replaced.contains(&site->weight)) continue;
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("cannot merge where another adapter replaces the weight, merge that one "
                           "too: ",
                           name, ", ", site->path));
    }
  }
  return {};
}

Status SwiftModel::move_out(const std::vector<size_t>& indices, Offload offload) {
  if (offload == Offload::kNone) return {};
  if (auto status = refuse_for_threads("off-loading"); !status) return status;
  for (const size_t index : indices) {
    Entry& entry = entries_[index];
    if (!entry.offloaded.empty()) continue;
    auto moved = OffloadedTensors::move_out(*entry.adapter, offload);
    if (!moved) return fail(moved.error());
    entry.offloaded = *std::move(moved);
  }
  return {};
}

Status SwiftModel::set_active(const std::vector<bool>& active) {
  if (auto status = check_overrides(active); !status) return status;
  if (auto status = check_exclusive(active); !status) return status;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (active[i]) entries_[i].offloaded.move_back();
    entries_[i].active = static_cast<bool>(active[i]);
    entries_[i].merged = entries_[i].merged && active[i];
  }
  install();
  return {};
}

std::vector<LayerList::Insertion> SwiftModel::insertions_of(const std::string& name) const {
  const Adapter* adapter = find_adapter(name);
  return adapter == nullptr ? std::vector<LayerList::Insertion>() : adapter->insertions();
}

std::string SwiftModel::active_insertions() const {
  for (const auto& entry : entries_) {
    if (entry.active && !entry.adapter->insertions().empty()) return entry.adapter->name();
  }
  return {};
}

void SwiftModel::remove_all() {
  for (auto& [slot, original] : originals_) slot->base = original;
  originals_.clear();
  for (const auto& entry : entries_) {
    const Adapter& adapter = *entry.adapter;
    const auto clear = [](const auto& parts) {
      for (const auto& part : parts) part.site->tuners.clear();
    };
    clear(adapter.linear_tuners());
    clear(adapter.embedding_tuners());
    clear(adapter.conv_tuners());
    clear(adapter.module_tuners());
    clear(adapter.attention_tuners());
    if (adapter.sequence_tuner() != nullptr) base_.sequence_site()->tuner = nullptr;
    if (!adapter.insertions().empty()) base_.layer_list()->insert({});
    for (const auto& replaced : adapter.overrides()) replaced.slot->override_value.reset();
  }
}

void SwiftModel::install() {
  remove_all();
  // Sites have the outermost first, and a later adapter is outside of the earlier ones.
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    if (entry->active) install_parts(*entry->adapter, entry->merged);
  }
  merge_weights();
  ++version_;
}

void SwiftModel::install_parts(const Adapter& adapter, bool merged) {
  for (const auto& replaced : adapter.overrides()) replaced.slot->override_value = replaced.value;
  const auto insertions = adapter.insertions();
  if (!insertions.empty()) base_.layer_list()->insert(insertions);
  if (merged) return;
  const auto attach = [](const auto& parts) {
    for (const auto& part : parts) part.site->tuners.push_back(part.tuner);
  };
  attach(adapter.linear_tuners());
  attach(adapter.embedding_tuners());
  attach(adapter.conv_tuners());
  attach(adapter.module_tuners());
  attach(adapter.attention_tuners());
  if (const auto* tuner = adapter.sequence_tuner()) base_.sequence_site()->tuner = tuner;
}

/// Merges the parts that one kind of site has in merged adapters, the innermost (first added)
/// first.
template <typename Part>
void SwiftModel::merge_parts(std::vector<Part> (Adapter::*parts)() const) {
  std::map<decltype(Part::site), LayerWeights> merged;
  for (const auto& entry : entries_) {
    if (!entry.merged) continue;
    for (const auto& part : (entry.adapter.get()->*parts)()) {
      auto [place, is_new] = merged.try_emplace(part.site);
      if (is_new) place->second = weights_of(*part.site);
      entry.adapter->merge_into(part, place->second);
    }
  }
  for (auto& [site, weights] : merged) set_weights(*site, weights);
}

void SwiftModel::set_merged(ParameterSlot& slot, const at::Tensor& value) {
  at::Tensor& place = slot.override_value.defined() ? slot.override_value.get() : slot.base;
  const at::Tensor merged = value.to(place.scalar_type());
  if (!slot.override_value.defined()) originals_[&slot] = slot.base;
  place = merged;
}

template <typename Site>
void SwiftModel::set_weights(Site& site, const LayerWeights& weights) {
  set_merged(site.weight, weights.weight);
  if constexpr (requires { site.bias; }) {
    const LayerWeights before = weights_of(site);
    if (weights.bias.defined() && !at::equal(before.bias, weights.bias))
      set_merged(site.bias, weights.bias);
  }
}

void SwiftModel::merge_weights() {
  const at::NoGradGuard no_grad;
  merge_parts<SiteTuner>(&Adapter::linear_tuners);
  merge_parts<EmbeddingPart>(&Adapter::embedding_tuners);
  merge_parts<ConvPart>(&Adapter::conv_tuners);
}

void SwiftModel::make_permanent(const std::vector<size_t>& indices) {
  remove_all();
  Entries others;
  Entries merging;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool chosen = std::find(indices.begin(), indices.end(), i) != indices.end();
    (chosen ? merging : others).push_back(std::move(entries_[i]));
  }
  for (auto& entry : merging) entry.merged = true;
  entries_ = std::move(merging);
  install();
  originals_.clear();  // what the slots hold now is the base
  for (const auto& entry : entries_) {
    for (const auto& replaced : entry.adapter->overrides())
      replaced.slot->base = replaced.slot->override_value.detach();
    if (auto blocks = entry.adapter->release_blocks(); !blocks.empty())
      base_.layer_list()->adopt(std::move(blocks));
  }
  remove_all();
  entries_ = std::move(others);
  install();
}

Result<std::vector<const Adapter*>> adapters_named(const SwiftModel& model,
                                                   const std::vector<std::string>& names) {
  std::vector<const Adapter*> adapters;
  for (const auto& name : names.empty() ? model.adapter_names() : names) {
    adapters.push_back(model.find_adapter(name));
    if (adapters.back() == nullptr) return fail(unknown_adapter(name, model.adapter_names()));
  }
  return adapters;
}

}  // namespace tunefleet::tuners
