#include "tuners/config/full_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>

#include "proto/nearest_name.h"
#include "tuners/config/python_regex.h"
#include "tuners/random.h"

namespace tunefleet::tuners {
namespace {

std::vector<TunerOption> option_rows() {
  return {
      {.key = "freeze_parameters",
       .help = "Parameters that do not train, by the beginnings of their paths.",
       .ref = ref_of<&FullOptions::freeze_parameters>},
      {.key = "freeze_parameters_regex",
       .help = "The same, by a regular expression found anywhere in the path.",
       .ref = ref_of<&FullOptions::freeze_parameters_regex>},
      {.key = "freeze_parameters_ratio",
       .help = "Part of the model's numbers that does not train, counted from the input on.",
       .ref = ref_of<&FullOptions::freeze_parameters_ratio>,
       .limits = between(0, 1)},
      {.key = "trainable_parameters",
       .help = "Parameters that train although the keys above freeze them.",
       .ref = ref_of<&FullOptions::trainable_parameters>},
      {.key = "trainable_parameters_regex",
       .help = "The same, by a regular expression.",
       .ref = ref_of<&FullOptions::trainable_parameters_regex>},
      {.key = "lisa_activated_layers",
       .help = "LISA: so many layers train at a time, drawn at random; 0: all.",
       .ref = ref_of<&FullOptions::lisa_activated_layers>,
       .limits = at_least(0)},
      {.key = "lisa_step_interval",
       .help = "Steps after which LISA draws its layers anew.",
       .ref = ref_of<&FullOptions::lisa_step_interval>,
       .limits = at_least(1)},
      {.key = "int8_modules",
       .help = "Linear layers whose weights are kept in 8 bits, by a part of their paths; "
               "all-linear: every one but the head.",
       .ref = ref_of<&FullOptions::int8_modules>},
  };
}

/// Finds an expression anywhere in a text.
Result<std::optional<PythonRegex>> search_regex(const std::optional<std::string>& pattern) {
  std::optional<PythonRegex> compiled;
  if (!pattern) return compiled;
  auto regex = PythonRegex::compile("(?s:.*?)(?:" + *pattern + ")");
  if (!regex) return fail(fmt::format("regular expression {}", *pattern), regex.error());
  compiled.emplace(*std::move(regex));
  return compiled;
}

/// Sets the places that a list of beginnings and an expression select to `value`.
class Selection {
 public:
  Selection(const std::vector<std::string>& paths, std::vector<bool>& chosen)
      : paths_(paths), chosen_(chosen) {}

  Status set(std::string_view key, const std::vector<std::string>& beginnings,
             const std::optional<std::string>& pattern, bool value) {
    for (const auto& beginning : beginnings) {
      if (set_by(beginning, value)) continue;
      const auto known = beginnings_of_paths();
      const auto near = nearest_name(beginning, {known.begin(), known.end()});
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: no parameter's path begins so{}: {}", key,
                              near ? fmt::format(", the nearest is {}", *near) : "", beginning));
    }
    const auto regex = search_regex(pattern);
    if (!regex) return fail(std::string(key) + "_regex", regex.error());
    if (!*regex) return {};
    for (size_t i = 0; i < paths_.size(); ++i) {
      const auto match = (*regex)->match(paths_[i]);
      if (!match) return fail(std::string(key) + "_regex", match.error());
      if (!match->empty()) chosen_[i] = value;
    }
    return {};
  }

 private:
  /// Every path, and every module on the way to it.
  std::set<std::string_view> beginnings_of_paths() const {
    std::set<std::string_view> known;
    for (const std::string_view path : paths_) {
      for (size_t end = path.find('.'); end != path.npos; end = path.find('.', end + 1))
        known.insert(path.substr(0, end));
      known.insert(path);
    }
    return known;
  }

  bool set_by(const std::string& beginning, bool value) {
    bool found = false;
    for (size_t i = 0; i < paths_.size(); ++i) {
      if (!paths_[i].starts_with(beginning)) continue;
      found = true;
      chosen_[i] = value;
    }
    return found;
  }

  const std::vector<std::string>& paths_;
  std::vector<bool>& chosen_;
};

/// Freezes parameters from the first on, as long as their numbers stay within the part.
void freeze_part(double ratio, const std::vector<int64_t>& sizes, std::vector<bool>& chosen) {
  if (ratio <= 0.0) return;
  const int64_t all = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  const auto limit = static_cast<int64_t>(static_cast<double>(all) * ratio);
  int64_t sum = 0;
  for (size_t i = 0; i < sizes.size() && (sum += sizes[i]) <= limit; ++i) chosen[i] = false;
}

}  // namespace

const TunerSchema& FullOptions::schema() {
  static const TunerSchema schema{.name = "full",
                                  .peft_type = "",
                                  .swift_type = "",
                                  .summary = "the base's own parameters, all or some of them",
                                  .source = "",
                                  .can_merge = true,
                                  .options = option_rows(),
                                  .make = &make_options<FullOptions>,
                                  .clone = &clone_options<FullOptions>};
  return schema;
}

FullOptions full_options_from_job(const JobSpec& spec) {
  FullOptions options{.freeze_parameters = spec.freeze_parameters,
                      .freeze_parameters_regex = spec.freeze_parameters_regex,
                      .freeze_parameters_ratio = spec.freeze_parameters_ratio,
                      .trainable_parameters = spec.trainable_parameters,
                      .trainable_parameters_regex = spec.trainable_parameters_regex,
                      .lisa_activated_layers = spec.lisa_activated_layers,
                      .lisa_step_interval = spec.lisa_step_interval};
  if (spec.use_galore && spec.galore_int8_weights.value_or(spec.galore_quantization)) {
    options.int8_modules = spec.galore_target_modules;
    if (options.int8_modules.empty()) options.int8_modules = {"all-linear"};
  }
  return options;
}

Result<std::vector<bool>> trained_parameters(const FullOptions& options,
                                             const std::vector<std::string>& paths,
                                             const std::vector<int64_t>& sizes) {
  std::vector<bool> chosen(paths.size(), true);
  freeze_part(options.freeze_parameters_ratio, sizes, chosen);
  Selection selection(paths, chosen);
  if (auto status = selection.set("freeze_parameters", options.freeze_parameters,
                                  options.freeze_parameters_regex, false);
      !status) {
    return fail(status.error());
  }
  if (auto status = selection.set("trainable_parameters", options.trainable_parameters,
                                  options.trainable_parameters_regex, true);
      !status) {
    return fail(status.error());
  }
  if (std::find(chosen.begin(), chosen.end(), true) == chosen.end()) {
    return fail(ErrorCode::kInvalidArgument,
                "every parameter is frozen, nothing would train: change freeze_parameters, its "
                "regex or its ratio, or name some in trainable_parameters");
  }
  return chosen;
}

bool is_galore_target(const std::vector<std::string>& targets, const std::string& module) {
  if (targets.empty() || targets == std::vector<std::string>{"all-linear"})
    return module.find("lm_head") == std::string::npos;
  return std::any_of(targets.begin(), targets.end(),
                     [&](const auto& target) { return module.find(target) != std::string::npos; });
}

std::vector<int64_t> lisa_layers(uint64_t seed, int64_t draw, int64_t layers, int64_t active) {
  RandomStream stream(seed, mix(stream_id("lisa"), static_cast<uint64_t>(draw)));
  std::vector<int64_t> numbers(static_cast<size_t>(layers));
  std::iota(numbers.begin(), numbers.end(), 0);
  for (int64_t i = 0; i < std::min(active, layers); ++i) {
    const auto rest = static_cast<double>(layers - i);
    const auto other = i + static_cast<int64_t>(stream.uniform() * rest);
    std::swap(numbers[static_cast<size_t>(i)], numbers[static_cast<size_t>(other)]);
  }
  numbers.resize(static_cast<size_t>(std::min(active, layers)));
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace tunefleet::tuners
