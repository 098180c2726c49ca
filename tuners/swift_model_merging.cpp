#include <c10/util/StringUtil.h>

#include <algorithm>
#include <set>
#include <utility>

#include "tuners/swift_model.h"

namespace tunefleet::tuners {

Status SwiftModel::merge(const std::vector<std::string>& names) {
  if (auto status = refuse_for_threads("merging"); !status) return status;
  auto indices = names.empty() ? active_indices() : indices_of(names);
  if (!indices) return fail(indices.error());
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].merged) indices->push_back(i);
  }
  if (auto status = check_merge(*indices, active_flags()); !status) return status;
  for (const size_t index : *indices) entries_[index].merged = true;
  install();
  return {};
}

Status SwiftModel::unmerge(const std::vector<std::string>& names) {
  const auto lock = guard();
  auto indices = names.empty() ? active_indices() : indices_of(names);
  if (!indices) return fail(indices.error());
  std::vector<size_t> left;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool out = std::find(indices->begin(), indices->end(), i) != indices->end();
    if (entries_[i].merged && !out) left.push_back(i);
  }
  if (auto status = check_merge(left, active_flags()); !status) return status;
  for (const size_t index : *indices) entries_[index].merged = false;
  install();
  return {};
}

Status SwiftModel::merge_and_unload(const std::vector<std::string>& names) {
  if (auto status = refuse_for_threads("merging"); !status) return status;
  auto indices = names.empty() ? active_indices() : indices_of(names);
  if (!indices) return fail(indices.error());
  if (auto status = check_merge(*indices, active_flags()); !status) return status;
  make_permanent(*indices);
  return {};
}

std::vector<std::string> SwiftModel::merged_adapters() const {
  const auto lock = guard();
  std::vector<std::string> names;
  for (const auto& entry : entries_) {
    if (entry.merged) names.push_back(entry.adapter->name());
  }
  return names;
}

/// Whether those of `indices` can be all that is merged while these are active.
Status SwiftModel::check_merge(const std::vector<size_t>& indices,
                               const std::vector<bool>& active) const {
  std::set<const ParameterSlot*> replaced;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool merges = std::find(indices.begin(), indices.end(), i) != indices.end();
    if (!active[i] || merges) continue;
    for (const auto& each : entries_[i].adapter->overrides()) replaced.insert(each.slot);
  }
  for (const size_t index : indices) {
    const Adapter& adapter = *entries_[index].adapter;
    const std::string& name = adapter.name();
    if (!active[index]) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("only an active adapter can be merged, activate it first: ", name));
    }
    if (!adapter.can_merge()) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("this tuner's effect cannot be merged into weights: ", name, " (",
                           std::string(adapter.options().schema().name), ")"));
    }
    if (const auto* slot = MergedWeights::written_to(adapter, replaced)) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("cannot be merged while another active adapter replaces the parameter, "
                           "merge both or neither: ",
                           name, ", ", slot->path));
    }
  }
  return {};
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
  merged_weights_.keep();
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

}  // namespace tunefleet::tuners
