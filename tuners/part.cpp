#include "tuners/part.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "tuners/config/python_regex.h"
#include "tuners/pass_adapter.h"

namespace tunefleet::tuners {
namespace {

/// What target_modules select.
class PartMatcher {
 public:
  static Result<PartMatcher> create(const ModuleNames& names) {
    PartMatcher matcher;
    matcher.names_ = names.names;
    if (!names.regex) return matcher;
    auto regex = PythonRegex::compile(*names.regex);
    if (!regex) return fail(regex.error());
    matcher.regex_ = *std::move(regex);
    return matcher;
  }
  Result<bool> selects(const std::string& module) const {
    if (regex_) return regex_->fullmatch(module);
    return std::any_of(names_.begin(), names_.end(), [&](const auto& name) {
      return module == name || module.ends_with("." + name);
    });
  }
  /// The outermost selected module that holds the parameter; "" when there is none.
  Result<std::string> target_of(const std::string& parameter) const {
    for (size_t dot = parameter.find('.'); dot != std::string::npos;
         dot = parameter.find('.', dot + 1)) {
      std::string module = parameter.substr(0, dot);
      const auto selected = selects(module);
      if (!selected) return fail(selected.error());
      if (*selected) return module;
    }
    return std::string();
  }

 private:
  std::vector<std::string> names_;
  std::optional<PythonRegex> regex_;
};

SavedParameter copy_of(ParameterSlot* slot, const std::string& target) {
  const at::NoGradGuard no_grad;
  return {.slot = slot,
          .module = target,
          .name = slot->path.substr(target.size() + 1),
          .copy = slot->base.detach().clone(at::MemoryFormat::Contiguous).set_requires_grad(true)};
}

Result<std::vector<SavedParameter>> copies_of(BaseModel& base, const PartMatcher& matcher) {
  std::vector<SavedParameter> copies;
  for (ParameterSlot* slot : base.parameters()) {
    if (!slot->base.defined()) continue;
    const auto target = matcher.target_of(slot->path);
    if (!target) return fail(target.error());
    if (!target->empty()) copies.push_back(copy_of(slot, *target));
  }
  return copies;
}

Error nothing_selected(const PartOptions& options, BaseModel& base) {
  const auto& names = options.target_modules;
  const std::string asked = names.regex ? *names.regex : c10::Join(", ", names.names);
  const auto modules = model_modules(base).modules;
  std::vector<std::string> known;
  for (const auto& path : modules) known.push_back(path.substr(path.rfind('.') + 1));
  known.insert(known.end(), modules.begin(), modules.end());
  const auto near = nearest_names(asked, known, 3);
  return {ErrorCode::kInvalidArgument,
          c10::str("part selects no module with parameters; nearest are ", c10::Join(", ", near),
                   ": \"", asked, "\"")};
}

/// ms-swift knows expressions only.
PartOptions for_file(PartOptions options, const std::vector<SavedParameter>& copies) {
  if (options.target_modules.regex) return options;
  std::vector<std::string> targets;
  for (const auto& copy : copies) {
    if (targets.empty() || targets.back() != copy.module) targets.push_back(copy.module);
  }
  options.target_modules = {.names = {}, .regex = expression_for(targets)};
  return options;
}

}  // namespace

Result<std::unique_ptr<Adapter>> PartAdapter::make(const TunerOptions& options,
                                                   const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  const auto& part = options.as<PartOptions>();
  const auto matcher = PartMatcher::create(part.target_modules);
  if (!matcher) return fail(matcher.error());
  auto copies = copies_of(request.base, *matcher);
  if (!copies) return fail(copies.error());
  if (copies->empty()) return fail(nothing_selected(part, request.base));
  const PartOptions resolved = for_file(part, *copies);
  return std::unique_ptr<Adapter>(new PartAdapter(resolved, request.name, *std::move(copies)));
}

std::vector<AdapterTensor> PartAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  for (const auto& copy : copies_) {
    tensors.push_back({.key = copy.slot->path,
                       .path = c10::str(copy.module, "._part_", name_, ".", copy.name),
                       .tensor = copy.copy,
                       .decay = has_weight_decay(copy.slot->path, copy.copy)});
  }
  return tensors;
}

std::vector<ParameterOverride> PartAdapter::overrides() const {
  std::vector<ParameterOverride> overrides;
  for (const auto& copy : copies_) overrides.push_back({.slot = copy.slot, .value = copy.copy});
  return overrides;
}

}  // namespace tunefleet::tuners
