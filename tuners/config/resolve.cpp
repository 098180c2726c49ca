#include "tuners/config/resolve.h"

#include <algorithm>
#include <utility>

#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {
namespace {

/// The value of an option that is a `T`; null when the tuner has no such option.
template <typename T>
T* find_value(const TunerSchema& schema, void* options, std::string_view key) {
  const TunerOption* option = find_option(schema, key);
  if (option == nullptr) return nullptr;
  const OptionRef ref = option->ref(options);
  T* const* value = std::get_if<T*>(&ref);
  return value == nullptr ? nullptr : *value;
}

template <typename T>
void take(const TunerSchema& schema, void* options, std::string_view key, T& to) {
  if (const T* value = find_value<T>(schema, options, key)) to = *value;
}

bool is_kind(const std::string& name) { return name == "all-norm" || name == "all-embedding"; }

}  // namespace

ModuleSelection selection_of(const TunerOptions& options) {
  const TunerSchema& schema = options.schema();
  const auto copy = schema.clone(options.data());
  ModuleSelection selection;
  take(schema, copy.get(), "target_modules", selection.target_modules);
  take(schema, copy.get(), "exclude_modules", selection.exclude_modules);
  take(schema, copy.get(), "modules_to_save", selection.modules_to_save);
  take(schema, copy.get(), "layers_to_transform", selection.layers_to_transform);
  take(schema, copy.get(), "layers_pattern", selection.layers_pattern);
  take(schema, copy.get(), "bias", selection.bias);
  return selection;
}

TunerOptions resolved(const TunerOptions& options, const std::vector<std::string>& targets,
                      const std::vector<std::string>& saved, const ModelModules& model,
                      const std::string& base_name) {
  const TunerSchema& schema = options.schema();
  auto copy = schema.clone(options.data());
  auto* named = find_value<TargetModules>(schema, copy.get(), "target_modules");
  if (named != nullptr && names_kinds(*named)) {
    named->names = minimal_names(targets, model);
    named->all_linear = false;
  }
  auto* modules = find_value<std::vector<std::string>>(schema, copy.get(), "modules_to_save");
  if (modules != nullptr && std::any_of(modules->begin(), modules->end(), is_kind))
    *modules = saved;
  auto* origin =
      find_value<std::optional<std::string>>(schema, copy.get(), "base_model_name_or_path");
  if (origin != nullptr && !*origin) *origin = base_name;
  return {schema, std::move(copy)};
}

}  // namespace tunefleet::tuners
