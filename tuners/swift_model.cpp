#include "tuners/swift_model.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cctype>
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

}  // namespace

SwiftModel::SwiftModel(BaseModel& base, uint64_t seed, ActiveSet active_set)
    : base_(base), seed_(seed), per_thread_(active_set == ActiveSet::kPerThread) {
  if (per_thread_) for_each_active_value([](auto& value) { value.give_each_thread_its_own(); });
}

SwiftModel::~SwiftModel() {
  remove_all();
  if (per_thread_) for_each_active_value([](auto& value) { value.share_among_threads(); });
}

template <typename Change>
void SwiftModel::for_each_active_value(const Change& change) {
  const auto at = [&](const auto& sites) {
    for (auto* site : sites) change(site->tuners);
  };
  at(base_.linear_sites());
  at(base_.embedding_sites());
  at(base_.conv_sites());
  at(base_.module_sites());
  at(base_.attention_sites());
  for (auto* slot : base_.parameters()) change(slot->override_value);
}

Status SwiftModel::add_adapter(const std::string& name, const TunerOptions& options) {
  const auto lock = guard();
  auto adapter = make_adapter(options, {.base = base_, .name = name, .seed = seed_, .fresh = true});
  if (!adapter) return fail(c10::str("adapter ", name), adapter.error());
  return add_adapter(*std::move(adapter));
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
  std::vector<bool> active = active_flags();
  active.back() = true;
  auto status = set_active(active);
  if (!status) entries_.pop_back();
  return status;
}

Status SwiftModel::add_adapter(const std::function<Result<std::unique_ptr<Adapter>>()>& make,
                               int64_t layers, bool trainable) {
  const auto lock = guard();
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
  const auto lock = guard();
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
  const auto lock = guard();
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

std::vector<std::string> SwiftModel::adapter_names() const {
  const auto lock = guard();
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry.adapter->name());
  return names;
}

const Adapter* SwiftModel::find_adapter(const std::string& name) const {
  const auto lock = guard();
  for (const auto& entry : entries_) {
    if (entry.adapter->name() == name) return entry.adapter.get();
  }
  return nullptr;
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
