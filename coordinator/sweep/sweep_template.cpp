#include "coordinator/sweep/sweep_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <utility>

#include "proto/nearest_name.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kLargest = 1'000'000'000;
constexpr size_t kMostValues = 1000;  // Each is compared with the others.

/// A list of values, or a range.
struct Parameter {
  std::string key;
  std::vector<json> values{};  ///< Of a list; of a range its `count` points.
  double min = 0.0, max = 0.0;
  bool range = false, log = false, whole = false;
};

/// Reads the section; the first problem is thrown as a SweepProblem and caught below.
class Reader {
 public:
  explicit Reader(const json& section) : section_(section) {}

  SweepTemplate read() {
    check_keys(section_, "sweep",
               {"parameters", "strategy", "samples", "seed", "metric", "halving", "max_parallel"});
    const std::string strategy = word("strategy", "grid", {"grid", "random"});
    const bool random = strategy == "random";
    if (!random && (section_.contains("samples") || section_.contains("seed")))
      problem("sweep.samples", "samples and seed are for strategy random");
    const auto parameters = read_parameters(random);
    SweepTemplate result;
    result.trials = random ? draw(parameters) : combine(parameters);
    result.plan.metric = word("metric", "eval_loss", {"eval_loss", "loss"});
    result.plan.halving = read_halving();
    result.plan.max_parallel = number(section_, "max_parallel", "sweep.max_parallel",
                                      static_cast<int64_t>(result.trials.size()), 1, kMostTrials);
    return result;
  }

 private:
  [[noreturn]] static void problem(std::string path, std::string message) {
    throw SweepProblem{std::move(path), std::move(message)};
  }

  static void check_keys(const json& object, const std::string& path,
                         const std::vector<std::string_view>& known) {
    if (!object.is_object()) problem(path, "must be a map");
    for (const auto& [key, value] : object.items()) {
      if (std::ranges::find(known, key) != known.end()) continue;
      const auto near = nearest_name(key, known);
      problem(path + "." + key,
              near ? fmt::format("unknown key, did you mean {}?", *near) : "unknown key");
    }
  }

  static int64_t number(const json& object, const char* key, const std::string& path,
                        std::optional<int64_t> otherwise, int64_t low, int64_t high) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) {
      if (otherwise) return *otherwise;
      problem(path, "is missing");
    }
    const double value = found->is_number() ? found->get<double>() : NAN;
    if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) ||
        std::trunc(value) != value) {
      problem(path, fmt::format("must be a whole number from {} to {}", low, high));
    }
    return static_cast<int64_t>(value);
  }

  std::string word(const char* key, const char* otherwise,
                   const std::vector<std::string>& allowed) const {
    const json value = section_.value(key, json(otherwise));
    for (const auto& each : allowed)
      if (value == each) return each;
    problem(std::string("sweep.") + key,
            fmt::format("must be {} or {}", allowed.front(), allowed.back()));
  }

  std::vector<Parameter> read_parameters(bool random) const {
    const auto found = section_.find("parameters");
    if (found == section_.end() || !found->is_object() || found->empty())
      problem("sweep.parameters", "must be a map of keys of the job to lists or ranges");
    std::vector<Parameter> parameters;
    for (const auto& [key, value] : found->items()) {
      const std::string path = "sweep.parameters." + key;
      parameters.push_back(value.is_object() ? range_of(key, value, path, random)
                                             : list_of(key, value, path, random));
    }
    return parameters;
  }

  static std::string too_many() { return fmt::format("makes more than {} jobs", kMostTrials); }

  static Parameter list_of(const std::string& key, const json& value, const std::string& path,
                           bool random) {
    if (!value.is_array() || value.empty()) problem(path, "must be a list of values, or a range");
    if (!random && value.size() > static_cast<size_t>(kMostTrials))
      problem("sweep.parameters", too_many());
    if (value.size() > kMostValues)
      problem(path, fmt::format("lists more than {} values", kMostValues));
    Parameter parameter{.key = key};
    for (const json& each : value) {
      if (std::ranges::find(parameter.values, each) != parameter.values.end())
        problem(path, "names a value twice: " + each.dump());
      parameter.values.push_back(each);
    }
    return parameter;
  }

  static Parameter range_of(const std::string& key, const json& value, const std::string& path,
                            bool random) {
    check_keys(value, path, {"min", "max", "scale", "count"});
    Parameter parameter{.key = key, .range = true};
    for (auto [name, bound] :
         {std::pair("min", &parameter.min), std::pair("max", &parameter.max)}) {
      if (!value.contains(name) || !value[name].is_number())
        problem(path + "." + name, "must be a number");
      *bound = value[name].get<double>();
    }
    parameter.whole = value["min"].is_number_integer() && value["max"].is_number_integer();
    const json scale = value.value("scale", json("linear"));
    if (scale != "linear" && scale != "log") problem(path + ".scale", "must be linear or log");
    parameter.log = scale == "log";
    if (!(parameter.min < parameter.max)) problem(path + ".max", "must be above min");
    if (parameter.log && parameter.min <= 0) problem(path + ".min", "must be above 0 with log");
    if (random) {
      if (value.contains("count")) problem(path + ".count", "is for strategy grid");
      return parameter;
    }
    const int64_t count = number(value, "count", path + ".count", std::nullopt, 2, kMostTrials);
    for (int64_t i = 0; i < count; ++i) {
      const json point = at(parameter, static_cast<double>(i) / static_cast<double>(count - 1));
      if (std::ranges::find(parameter.values, point) == parameter.values.end())
        parameter.values.push_back(point);
    }
    return parameter;
  }

  /// The value at `share` of the way, 0 to 1; its ends are exact.
  static json at(const Parameter& range, double share) {
    const double way = range.log ? range.min * std::pow(range.max / range.min, share)
                                 : range.min + (range.max - range.min) * share;
    const double value = share <= 0 ? range.min : share >= 1 ? range.max : way;
    if (range.whole) return static_cast<int64_t>(std::llround(value));
    return value;
  }

  static std::vector<json> combine(const std::vector<Parameter>& parameters) {
    std::vector<json> trials{json::object()};
    for (const auto& parameter : parameters) {
      if (trials.size() * parameter.values.size() > static_cast<size_t>(kMostTrials))
        problem("sweep.parameters", too_many());
      std::vector<json> longer;
      for (const json& trial : trials) {
        for (const json& value : parameter.values) {
          longer.push_back(trial);
          longer.back()[parameter.key] = value;
        }
      }
      trials = std::move(longer);
    }
    return trials;
  }

  std::vector<json> draw(const std::vector<Parameter>& parameters) const {
    const int64_t samples =
        number(section_, "samples", "sweep.samples", std::nullopt, 1, kMostTrials);
    std::mt19937_64 source(
        static_cast<uint64_t>(number(section_, "seed", "sweep.seed", 42, 0, kLargest)));
    std::vector<json> trials;
    for (int64_t i = 0; i < samples; ++i) {
      json trial = json::object();
      for (const auto& parameter : parameters) {
        const double share = static_cast<double>(source() >> 11) * 0x1p-53;  // [0, 1)
        if (parameter.range) {
          trial[parameter.key] = at(parameter, share);
        } else {
          const auto count = static_cast<double>(parameter.values.size());
          trial[parameter.key] = parameter.values[static_cast<size_t>(share * count)];
        }
      }
      trials.push_back(std::move(trial));
    }
    return trials;
  }

  std::optional<Halving> read_halving() const {
    const auto found = section_.find("halving");
    if (found == section_.end() || found->is_null() || *found == "none") return std::nullopt;
    check_keys(*found, "sweep.halving", {"eta", "min_steps", "max_steps"});
    Halving halving;
    halving.eta = number(*found, "eta", "sweep.halving.eta", 3, 2, kMostTrials);
    halving.min_steps =
        number(*found, "min_steps", "sweep.halving.min_steps", std::nullopt, 1, kLargest);
    halving.max_steps = number(*found, "max_steps", "sweep.halving.max_steps", std::nullopt,
                               halving.min_steps + 1, kLargest);
    return halving;
  }

  const json& section_;
};

}  // namespace

tl::expected<SweepTemplate, SweepProblem> read_sweep_template(const json& section) {
  try {
    return Reader(section).read();
  } catch (const SweepProblem& problem) {
    return tl::unexpected(problem);
  }
}

}  // namespace tunefleet::coordinator
