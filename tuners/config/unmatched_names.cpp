#include "tuners/config/unmatched_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

#include "tuners/config/resolve.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {
namespace {

/// PEFT's rule for an entry of a list: the whole path, or its end after a dot.
bool is_end_of(const std::string& name, std::string_view path) {
  return path == name || path.ends_with("." + name);
}

template <typename Matches>
bool none_of(const std::vector<std::string>& paths, const Matches& matches) {
  return std::none_of(paths.begin(), paths.end(), matches);
}

class Unmatched {
 public:
  explicit Unmatched(const std::vector<std::string>& targets) : targets_(targets) {}

  void add_names(std::string_view key, const std::vector<std::string>& names,
                 const std::vector<std::string>& paths) {
    for (const auto& name : names) {
      if (name == kAllEmbedding || is_all_linear(name)) continue;
      if (none_of(paths, [&](const auto& path) { return is_end_of(name, path); })) add(key, name);
    }
  }
  template <typename T>
  void add_pattern(std::string_view key, const Pattern<T>& pattern) {
    for (const auto& [name, value] : pattern) {
      if (none_of(targets_, [&](const auto& path) { return pattern_matches(name, path); }))
        add(key, name);
    }
  }
  std::vector<std::string> texts() { return std::move(texts_); }

 private:
  void add(std::string_view key, const std::string& name) {
    std::vector<std::string> known;
    for (const auto& path : targets_) known.push_back(path.substr(path.rfind('.') + 1));
    texts_.push_back(fmt::format("{}: {}, nearest {}", key, name,
                                 fmt::join(nearest_names(name, known, 1), ", ")));
  }

  const std::vector<std::string>& targets_;
  std::vector<std::string> texts_;
};

}  // namespace

std::vector<std::string> unmatched_names(const TunerOptions& options,
                                         const std::vector<std::string>& targets,
                                         const ModelModules& model) {
  Unmatched unmatched(targets);
  const ModuleSelection selection = selection_of(options);
  if (!selection.target_modules.regex && selection.layers_to_transform.empty())
    unmatched.add_names("target_modules", selection.target_modules.names, targets);
  if (!selection.exclude_modules.regex)
    unmatched.add_names("exclude_modules", selection.exclude_modules.names, model.modules);
  const TunerSchema& schema = options.schema();
  const auto copy = schema.clone(options.data());
  for (const auto& option : schema.options) {
    const OptionRef ref = option.ref(copy.get());
    if (const auto* whole = std::get_if<Pattern<int64_t>*>(&ref))
      unmatched.add_pattern(option.key, **whole);
    if (const auto* real = std::get_if<Pattern<double>*>(&ref))
      unmatched.add_pattern(option.key, **real);
  }
  return unmatched.texts();
}

}  // namespace tunefleet::tuners
