#include "tuners/res_tuning.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

namespace tunefleet::tuners {
namespace {

constexpr const char* kStem = "restuning_{}";

/// Passes everything on and keeps what it saw.
class Probe : public PassTuner {
 public:
  Probe(BypassProbes& probes, size_t index, bool input)
      : probes_(probes), index_(index), input_(input) {}
  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext&) const override {
    if (input_) probes_.put(index_, x);
    at::Tensor y = next(x);
    if (!input_) probes_.put(index_, y);
    return y;
  }

 private:
  BypassProbes& probes_;
  size_t index_;
  bool input_;
};

/// Puts the bypass's result in the place of the module's input or output.
class Target : public PassTuner {
 public:
  Target(const Bypass& bypass, BypassProbes& probes, bool input)
      : bypass_(bypass), probes_(probes), input_(input) {}
  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext&) const override {
    if (input_) return next(bypass_.forward(probes_.get()));
    next(x);  // stems may lie inside
    return bypass_.forward(probes_.get());
  }

 private:
  const Bypass& bypass_;
  BypassProbes& probes_;
  bool input_;
};

ModuleNames as_expression(const ModuleNames& names, const std::vector<PassSite>& sites) {
  if (names.regex || names.empty()) return names;
  return {.names = {}, .regex = expression_for(sites)};
}

}  // namespace

void BypassProbes::put(size_t index, const at::Tensor& x) {
  const std::lock_guard lock(mutex_);
  latest_ = std::this_thread::get_id();
  Pass& pass = passes_[latest_];
  pass.resize(count_);
  pass[index] = x.detach();
}

std::vector<at::Tensor> BypassProbes::get() {
  const std::lock_guard lock(mutex_);
  const auto own = passes_.find(std::this_thread::get_id());
  const Pass pass = own != passes_.end() ? own->second : passes_[latest_];
  const bool complete =
      pass.size() == count_ &&
      std::all_of(pass.begin(), pass.end(), [](const auto& probe) { return probe.defined(); });
  if (complete) return pass;
  throw std::logic_error(
      "a target of Res-Tuning ran before the modules that feed its bypass: choose stem_modules "
      "and root_modules that run earlier");
}

Bypass::Bypass(const std::vector<BypassBlockPlan>& plan, const TunerPlace& place) {
  for (size_t i = 0; i < plan.size(); ++i)
    blocks_.emplace_back(plan[i], place.inside(c10::str("bypass_blocks.", i)));
}

at::Tensor Bypass::forward(const std::vector<at::Tensor>& probes) const {
  at::Tensor x = probes.front();
  for (size_t i = 0; i < blocks_.size(); ++i) {
    std::optional<at::IntArrayRef> next_size;
    if (i + 2 < probes.size() && probes[i + 2].dim() == 4)
      next_size = probes[i + 2].sizes().slice(2);
    x = blocks_[i].forward(probes[i + 1], x, next_size);
  }
  return x;
}

std::vector<LayerTensor> Bypass::tensors() const {
  std::vector<LayerTensor> tensors;
  for (size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i].append(c10::str("bypass_blocks.", i), tensors);
  return tensors;
}

struct ResTuningAdapter::Places {
  std::optional<PassSite> root;
  std::vector<PassSite> stems;
  std::vector<PassSite> targets;
};

Result<ResTuningAdapter::Places> ResTuningAdapter::find_places(const PassSites& sites,
                                                               const ResTuningOptions& options) {
  Places places;
  if (!options.root_modules.empty()) {
    const auto roots = sites.matching(options.root_modules, "restuning option root_modules");
    if (!roots) return fail(roots.error());
    places.root = roots->front();
  }
  const auto& names = options.stem_modules;
  auto stems = names.regex ? sites.matching(names, "restuning option stem_modules")
                           : sites.at_paths(names.names, "restuning option stem_modules");
  if (!stems) return fail(stems.error());
  places.stems = *std::move(stems);
  auto targets = sites.matching(options.target_modules, "restuning option target_modules");
  if (!targets) return fail(targets.error());
  places.targets = *std::move(targets);
  return places;
}

/// Probes come first: at one place they are outside of what changes the tensor.
void ResTuningAdapter::attach_parts(const Places& places, const ResTuningOptions& options) {
  const bool root_input = !places.root || options.root_modules_hook == "input";
  attach(places.root.value_or(places.stems.front()),
         std::make_unique<Probe>(*probes_, 0, root_input));
  for (size_t i = 0; i < places.stems.size(); ++i) {
    attach(places.stems[i],
           std::make_unique<Probe>(*probes_, i + 1, options.stem_modules_hook == "input"));
  }
  for (const auto& target : places.targets) {
    attach(target,
           std::make_unique<Target>(*bypass_, *probes_, options.target_modules_hook == "input"));
  }
}

Result<std::unique_ptr<Adapter>> ResTuningAdapter::make(const TunerOptions& options,
                                                        const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  auto tuning = options.as<ResTuningOptions>();
  const PassSites sites(request.base);
  const auto places = find_places(sites, tuning);
  if (!places) return fail(places.error());
  const auto plan = plan_bypass(tuning, static_cast<int64_t>(places->stems.size()));
  if (!plan) return fail(plan.error());
  if (places->root) tuning.root_modules = as_expression(tuning.root_modules, {*places->root});
  tuning.target_modules = as_expression(tuning.target_modules, places->targets);
  std::unique_ptr<ResTuningAdapter> adapter(new ResTuningAdapter(tuning, request.name));
  adapter->bypass_ = std::make_unique<Bypass>(
      *plan, TunerPlace{adapter->with_name(kStem), request.seed, sites.device()});
  adapter->probes_ = std::make_unique<BypassProbes>(places->stems.size() + 1);
  adapter->attach_parts(*places, tuning);
  return adapter;
}

std::vector<AdapterTensor> ResTuningAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  for (const auto& tensor : bypass_->tensors()) tensors.push_back(named(tensor, kStem));
  return tensors;
}

}  // namespace tunefleet::tuners
