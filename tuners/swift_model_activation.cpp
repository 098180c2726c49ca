#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string_view>
#include <utility>

#include "tuners/swift_model.h"

namespace tunefleet::tuners {

SwiftModel::ActiveSet SwiftModel::active_set_from_environment() {
  const char* value = std::getenv("USE_UNIQUE_THREAD");
  return value != nullptr && std::string_view(value) == "0" ? ActiveSet::kPerThread
                                                            : ActiveSet::kShared;
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

std::vector<std::string> SwiftModel::active_adapters() const {
  const auto lock = guard();
  std::vector<std::string> names;
  for (const auto& entry : entries_) {
    if (entry.active) names.push_back(entry.adapter->name());
  }
  return names;
}

std::vector<bool> SwiftModel::active_flags() const {
  std::vector<bool> active;
  for (const auto& entry : entries_) active.push_back(entry.active);
  return active;
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
  std::vector<size_t> merged;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].merged && active[i]) merged.push_back(i);
  }
  if (auto status = check_merge(merged, active); !status)
    return fail(ErrorCode::kConflict, status.error().message);
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (active[i]) entries_[i].offloaded.move_back();
    entries_[i].active = static_cast<bool>(active[i]);
    entries_[i].merged = entries_[i].merged && active[i];
  }
  install();
  return {};
}

void SwiftModel::remove_all() {
  merged_weights_.restore();
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
  std::vector<const Adapter*> merged;
  for (const auto& entry : entries_) {
    if (entry.merged) merged.push_back(entry.adapter.get());
  }
  merged_weights_.merge(merged);
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

}  // namespace tunefleet::tuners
