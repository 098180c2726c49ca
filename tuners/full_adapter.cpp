#include "tuners/full_adapter.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_map>
#include <utility>

#include "storage/sharded_model.h"
#include "tuners/quantization/int8_linear.h"
#include "tuners/saved_modules.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {

/// A linear site whose weight is kept in 8 bits; the base's weight is not used.
class FullAdapter::Int8Tuner : public LinearTuner {
 public:
  Int8Tuner(std::shared_ptr<const Int8Weight> weight, const LinearSite& site)
      : weight_(std::move(weight)), site_(site) {}
  at::Tensor forward(const at::Tensor& x, const LinearNext& /*next*/,
                     const ForwardContext& /*context*/) const override {
    return int8_linear(x, weight_, site_.bias.value());
  }

 private:
  std::shared_ptr<const Int8Weight> weight_;
  const LinearSite& site_;
};

namespace {

/// The number after `list` in a path: 3 for "model.layers.3.mlp…" and "model.layers"; -1: another.
int64_t layer_of(const std::string& path, const std::string& list) {
  if (list.empty() || !path.starts_with(list + ".")) return -1;
  int64_t number = -1;
  const char* begin = path.data() + list.size() + 1;
  const auto [end, error] = std::from_chars(begin, path.data() + path.size(), number);
  return error == std::errc{} && *end == '.' ? number : -1;
}

/// Tells the kernel that a tensor's memory is not needed for now: pages of a mapped file leave main
/// memory, and come back from the file when they are read. Contents never change.
void page_out(const at::Tensor& tensor) {
  if (!tensor.is_cpu() || !tensor.is_contiguous()) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto from = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const uintptr_t begin = (from + page - 1) / page * page;
  const uintptr_t end = (from + tensor.nbytes()) / page * page;
  // Advice only: a kernel that does not know it, or cannot follow it, keeps the pages.
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_PAGEOUT);
}

/// The slots of each tensor, tied ones together, in the order of the model.
std::vector<std::vector<ParameterSlot*>> slots_by_tensor(BaseModel& base) {
  std::vector<std::vector<ParameterSlot*>> slots;
  std::unordered_map<const void*, size_t> place;
  for (ParameterSlot* slot : base.parameters()) {
    if (!slot->base.defined()) continue;
    const auto [at, is_new] = place.emplace(slot->base.const_data_ptr(), slots.size());
    if (is_new) slots.emplace_back();
    slots[at->second].push_back(slot);
  }
  return slots;
}

}  // namespace

FullAdapter::FullAdapter(const FullOptions& options, std::string name)
    : name_(std::move(name)), options_(options) {}

Result<std::unique_ptr<FullAdapter>> FullAdapter::make(const FullOptions& options,
                                                       const AdapterRequest& request) {
  std::unique_ptr<FullAdapter> adapter(new FullAdapter(options, request.name));
  if (auto status = adapter->add_parts(request.base); !status) return fail(status.error());
  if (auto status = adapter->check_lisa(request.base); !status) return fail(status.error());
  return adapter;
}

Status FullAdapter::add_parts(BaseModel& base) {
  const auto slots = slots_by_tensor(base);
  std::vector<std::string> paths;
  std::vector<int64_t> sizes;
  for (const auto& same : slots) {
    paths.push_back(same.front()->path);
    sizes.push_back(same.front()->base.numel());
  }
  const auto trained = trained_parameters(full(), paths, sizes);
  if (!trained) return fail(trained.error());
  std::map<const ParameterSlot*, LinearSite*> eight_bits;
  if (!full().int8_modules.empty()) {
    for (LinearSite* site : base.linear_sites()) {
      if (site->path != base.output_embedding() &&
          is_galore_target(full().int8_modules, site->path))
        eight_bits.emplace(&site->weight, site);
    }
    if (eight_bits.empty()) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("no linear layer's path contains any of these: ",
                           c10::Join(", ", full().int8_modules)));
    }
  }
  const LayerList* list = base.layer_list();
  layers_ = list == nullptr ? 0 : list->size();
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!(*trained)[i]) continue;
    Part part{.slots = slots[i],
              .site = nullptr,
              .copy = {},
              .int8 = nullptr,
              .tuner = nullptr,
              .layer = layer_of(paths[i], list == nullptr ? "" : list->path())};
    const at::Tensor& value = part.slots.front()->base;
    if (const auto site = eight_bits.find(part.slots.front()); site != eight_bits.end()) {
      keep_in_8_bits(part, *site->second);
    } else {
      part.copy = value.detach().clone(at::MemoryFormat::Contiguous).set_requires_grad(true);
    }
    page_out(value);
    parts_.push_back(std::move(part));
  }
  return {};
}

void FullAdapter::keep_in_8_bits(Part& part, LinearSite& site) {
  part.site = &site;
  part.int8 = std::make_shared<Int8Weight>(site.weight.base);
  part.tuner = std::make_shared<const Int8Tuner>(part.int8, site);
  part.copy = part.int8->stand_in();
}

Status FullAdapter::check_lisa(BaseModel& base) const {
  const int64_t active = full().lisa_activated_layers;
  if (active == 0) return {};
  if (base.layer_list() == nullptr) {
    return fail(ErrorCode::kInvalidArgument,
                "LISA needs a model with a list of layers: " + base.model_type());
  }
  if (active <= layers_) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      c10::str("lisa_activated_layers is more than the model has: ", active, " > ", layers_));
}

std::vector<AdapterTensor> FullAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  tensors.reserve(parts_.size());
  for (const auto& part : parts_) {
    AdapterTensor tensor{.key = part.path(), .path = part.path(), .tensor = part.copy};
    tensor.decay = has_weight_decay(part.path(), part.copy);
    tensor.trains = part.trains;
    tensor.int8 = part.int8;
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::vector<SiteTuner> FullAdapter::linear_tuners() const {
  std::vector<SiteTuner> tuners;
  for (const auto& part : parts_) {
    if (part.tuner) tuners.push_back({.site = part.site, .tuner = part.tuner.get()});
  }
  return tuners;
}

std::vector<ParameterOverride> FullAdapter::overrides() const {
  std::vector<ParameterOverride> overrides;
  for (const auto& part : parts_) {
    if (part.int8) continue;
    for (ParameterSlot* slot : part.slots) overrides.push_back({.slot = slot, .value = part.copy});
  }
  return overrides;
}

void FullAdapter::merge_into(const SiteTuner& part, LayerWeights& weights) const {
  weights.weight = value_of(part.site->weight).to(at::kFloat);
}

bool FullAdapter::before_step(const StepInfo& info) {
  const int64_t active = full().lisa_activated_layers;
  const int64_t draw = info.step / full().lisa_step_interval;
  if (active == 0 || draw == draw_) return false;
  draw_ = draw;
  return train_layers(lisa_layers(info.seed, draw, layers_, active));
}

bool FullAdapter::train_layers(const std::vector<int64_t>& layers) {
  bool changed = false;
  for (auto& part : parts_) {
    const bool trains =
        part.layer < 0 || std::find(layers.begin(), layers.end(), part.layer) != layers.end();
    changed = changed || trains != part.trains;
    part.trains = trains;
    part.copy.set_requires_grad(trains);
  }
  return changed;
}

std::vector<AdapterTensor> FullAdapter::state() const {
  std::vector<AdapterTensor> state;
  for (const auto& part : parts_) {
    if (!part.int8) continue;
    for (const auto& [name, tensor] : part.int8->parts()) {
      const std::string path = part.path() + ".int8." + name;
      state.push_back({.key = path, .path = path, .tensor = tensor});
    }
  }
  return state;
}

const FullAdapter::Part* FullAdapter::part_of(const ParameterSlot& slot) const {
  for (const auto& part : parts_) {
    if (std::find(part.slots.begin(), part.slots.end(), &slot) != part.slots.end()) return &part;
  }
  return nullptr;
}

at::Tensor FullAdapter::value_of(const ParameterSlot& slot) const {
  const Part* part = part_of(slot);
  if (part == nullptr) return slot.base;
  return part->int8 ? part->int8->read() : part->copy.detach();
}

Status FullAdapter::load(const std::filesystem::path& directory) {
  const auto files = storage::ShardedModel::open(directory);
  if (!files) return fail(files.error());
  const at::NoGradGuard no_grad;
  for (auto& part : parts_) {
    const auto* view = files->find(part.path());
    if (view == nullptr) {
      return fail(ErrorCode::kNotFound, c10::str("tensor is missing from the model: ", part.path(),
                                                 ", ", directory.string()));
    }
    if (at::IntArrayRef(view->shape) != part.copy.sizes()) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("tensor has another shape than the base's: ", part.path(), ", ",
                           shape_text(view->shape), " instead of ", shape_text(part.copy.sizes()),
                           ", ", directory.string()));
    }
    const at::Tensor value = copy_tensor(*view).to(part.copy.device());
    if (part.int8) {
      part.int8->assign(value);
    } else {
      part.copy.copy_(value);
    }
  }
  return {};
}

}  // namespace tunefleet::tuners
