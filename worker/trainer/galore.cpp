#include "worker/trainer/galore.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>

#include <stdexcept>
#include <utility>

#include "tuners/random.h"
#include "worker/trainer/saved_state.h"

namespace tunefleet::trainer {

Galore::Galore(const std::vector<OptimizerGroup>& groups, Options options)
    : options_(std::move(options)) {
  set_groups(groups);
}

void Galore::set_groups(const std::vector<OptimizerGroup>& groups) {
  for (auto& [path, slot] : slots_) slot.trains = false;
  for (const auto& group : groups) {
    for (const auto& entry : group.tensors) {
      auto& slot = slots_[entry.path];
      slot.entry = entry;
      slot.lr_scale = group.lr_scale;
      slot.weight_decay = group.weight_decay;
      slot.trains = true;
      if (slot.rule) continue;
      slot.rule = make_rule(options_.rule, entry.tensor.scalar_type());
      if (entry.tensor.dim() == 2 && options_.is_projected(entry.path))
        slot.projector.emplace(options_.galore, entry.path);
    }
  }
}

void Galore::step(double learning_rate) {
  for (auto& [path, slot] : slots_) {
    if (slot.trains && slot.entry.tensor.grad().defined()) update(slot, learning_rate);
  }
}

void Galore::step_one(const std::string& path, double learning_rate) {
  const auto it = slots_.find(path);
  if (it == slots_.end() || !it->second.trains)
    throw std::invalid_argument("no tensor of that path trains: " + path);
  update(it->second, learning_rate);
}

void Galore::update(Slot& slot, double learning_rate) {
  const at::NoGradGuard no_grad;
  const auto& entry = slot.entry;
  const auto& gradient = entry.tensor.grad();
  const double lr = learning_rate * slot.lr_scale;
  const StepSize size{.rate = lr, .kept = 1.0 - lr * slot.weight_decay};
  auto value = entry.int8 ? entry.int8->read(at::kFloat) : entry.tensor;
  if (slot.projector) {
    const auto low = slot.projector->project(gradient, slot.steps++);
    slot.projector->move_back(value, slot.rule->direction(low, slot.steps), size,
                              slot.rule->decays_first());
  } else {
    slot.rule->move(value, gradient.to(at::kFloat), ++slot.steps, size);
  }
  if (!entry.int8) return;
  const uint64_t stream = tuners::stream_id(entry.path + ".rounding");
  entry.int8->write(
      value,
      tuners::mix(tuners::mix(options_.galore.seed, static_cast<uint64_t>(slot.steps)), stream));
}

Galore::NamedTensors Galore::state() const {
  NamedTensors out;
  for (const auto& [path, slot] : slots_) {
    out.emplace_back(path + ".step", at::full({}, slot.steps, at::kLong));
    if (slot.steps == 0) continue;
    slot.rule->append_state(path + ".", out);
    if (slot.projector) slot.projector->append_state(path + ".", out);
  }
  return out;
}

void Galore::load(const NamedTensors& state) {
  SavedState saved(state);
  for (auto& [path, slot] : slots_) {
    slot.steps = static_cast<int64_t>(saved.take_number(path + ".step"));
    if (slot.steps == 0) continue;
    const auto shape = slot.entry.tensor.sizes();
    const auto device = slot.entry.tensor.device();
    if (slot.projector) slot.projector->load(path + ".", shape, device, saved);
    const auto seen = slot.projector ? slot.projector->low_shape(shape) : shape.vec();
    slot.rule->load(path + ".", seen, device, saved);
  }
  saved.check_all_taken();
}

const GaloreProjector* Galore::projector(const std::string& path) const {
  const auto it = slots_.find(path);
  return it != slots_.end() && it->second.projector ? &*it->second.projector : nullptr;
}

}  // namespace tunefleet::trainer
