#include <c10/util/StringUtil.h>

#include <cstdio>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "tuners/swift_model.h"

namespace tunefleet::tuners {
namespace {

/// With at most `decimals`, as few as needed: 2.5, 100.
std::string short_number(double number, int decimals) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", decimals, number);
  std::string trimmed(text);
  trimmed.erase(trimmed.find_last_not_of('0') + 1);
  if (trimmed.back() == '.') trimmed.pop_back();
  return trimmed;
}

/// A count as the document writes it: "2.4422M".
std::string in_millions(int64_t count) {
  return short_number(static_cast<double>(count) / 1e6, 4) + "M";
}

TrainableTensor trainable_tensor(AdapterTensor tensor) {
  return {.path = std::move(tensor.path),
          .tensor = std::move(tensor.tensor),
          .decay = tensor.decay,
          .int8 = std::move(tensor.int8)};
}

}  // namespace

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
  const auto lock = guard();
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
  const auto lock = guard();
  at::Tensor sum;
  for (const auto* adapter : training_adapters()) {
    const auto part = adapter->regularization();
    if (part.defined()) sum = sum.defined() ? sum.add(part) : part;
  }
  return sum;
}

std::vector<AdapterTensor> SwiftModel::state() const {
  const auto lock = guard();
  std::vector<AdapterTensor> state;
  for (const auto* adapter : training_adapters()) {
    for (auto& tensor : adapter->state()) state.push_back(std::move(tensor));
  }
  return state;
}

void SwiftModel::loaded() {
  const auto lock = guard();
  for (auto* adapter : training_adapters()) adapter->loaded();
}

std::vector<ParameterGroup> SwiftModel::create_optimizer_param_groups(double lr,
                                                                      double weight_decay) const {
  const auto lock = guard();
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
  const auto lock = guard();
  std::set<std::string> replaced;  // Parameters of the base that count as an adapter's.
  for (const auto& entry : entries_) {
    if (!entry.adapter->replaces_base()) continue;
    for (const auto& each : entry.adapter->tensors()) {
      if (each.trains) replaced.insert(each.path);
    }
  }
  std::set<const void*> seen;
  int64_t all = 0;
  for (ParameterSlot* slot : base_.parameters()) {
    const at::Tensor& tensor = merged_weights_.original(*slot);
    if (!tensor.defined() || !seen.insert(tensor.const_data_ptr()).second) continue;
    if (!replaced.contains(slot->path)) all += tensor.numel();
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
  char percent_text[32];
  std::snprintf(percent_text, sizeof(percent_text), "%.2f%%", percent);
  return c10::str("trainable params: ", in_millions(trainable),
                  " || all params: ", in_millions(all), " || trainable%: ", percent_text,
                  " || cuda memory: ", short_number(cuda_memory_gib, 2), "GiB.");
}

}  // namespace tunefleet::tuners
