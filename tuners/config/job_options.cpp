#include "tuners/config/job_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "proto/nearest_name.h"
#include "tuners/config/job_flat_keys.h"
#include "tuners/config/option_values.h"
#include "tuners/config/tuner_list.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {
namespace {

using Json = nlohmann::ordered_json;

/// Where a tuner acts when neither all-linear nor its own default fits a decoder.
struct DefaultTargets {
  std::string_view tuner;
  std::string_view json;  ///< Empty: the tuner's own default.
};
constexpr std::array kDefaultTargets{
    DefaultTargets{"adapter", "[\"mlp\"]"},
    DefaultTargets{"ia3", ""},
    DefaultTargets{"ln_tuning", ""},
    DefaultTargets{"trainable_tokens", ""},
};

/// Names that are folders beside adapters in a checkpoint.
constexpr std::array kTakenNames{std::string_view("extra_states"), std::string_view("peft"),
                                 std::string_view("state")};

/// `value` in the form the option wants, where the writer had no way to say it: a text of digits
/// was read as a number, a whole number may be written 8.0.
Json adapted(const Json& value, const OptionRef& ref) {
  const bool text = std::holds_alternative<std::string*>(ref) ||
                    std::holds_alternative<std::optional<std::string>*>(ref) ||
                    std::holds_alternative<NumberOrText*>(ref) ||
                    std::holds_alternative<std::optional<NumberOrText>*>(ref);
  const bool whole =
      std::holds_alternative<int64_t*>(ref) || std::holds_alternative<std::optional<int64_t>*>(ref);
  if (text && value.is_number()) return value.dump();
  if (whole && value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>())
    return static_cast<int64_t>(value.get<double>());
  if (std::holds_alternative<bool*>(ref) && (value == "true" || value == "false"))
    return value == "true";
  return value;
}

/// Options of one tuner in the making. Problems go to the keys of the job they come from.
class OptionsBuilder {
 public:
  /// `where`: the key that stands for the tuner as a whole.
  OptionsBuilder(const TunerSchema& schema, std::string where, std::vector<BrokenRule>& broken)
      : schema_(schema), where_(std::move(where)), value_(schema.make()), broken_(broken) {}

  void set(const TunerOption& option, const Json& value, const std::string& path) {
    const OptionRef ref = option.ref(value_.get());
    paths_[option.key] = path;
    const auto wrong = value_from_json(adapted(value, ref), ref);
    if (wrong.empty()) return;
    add(path, fmt::format("{}: {}", wrong, value.dump(-1, ' ', false, kReplace)));
  }

  /// Sets an option that the job left open.
  void set_open(std::string_view key, const Json& value) {
    const TunerOption* option = find_option(schema_, key);
    if (option != nullptr && !paths_.contains(option->key)) set(*option, value, where_);
  }

  /// Nothing when something is wrong.
  std::optional<TunerOptions> finish() {
    check_required();
    if (failed_) return std::nullopt;
    if (schema_.normalise != nullptr) schema_.normalise(value_.get());
    TunerOptions options(schema_, value_);
    for (const auto& option : schema_.options) {
      if (const auto status = check_option(options, option); !status)
        add(path_of(option.key), status.error().message);
    }
    if (failed_) return std::nullopt;
    if (const auto status = check_options(options); !status) add(where_, status.error().message);
    return failed_ ? std::nullopt : std::optional(options);
  }

  void add(const std::string& path, std::string message) {
    failed_ = true;
    broken_.push_back({path, std::move(message)});
  }

 private:
  static constexpr auto kReplace = Json::error_handler_t::replace;

  const std::string& path_of(std::string_view key) const {
    const auto found = paths_.find(key);
    return found == paths_.end() ? where_ : found->second;
  }

  void check_required() {
    for (const auto& option : schema_.options) {
      if (option.required && !paths_.contains(option.key))
        add(where_, fmt::format("{} needs a value for {}", schema_.name, option.key));
    }
  }

  const TunerSchema& schema_;
  std::string where_;
  std::shared_ptr<void> value_;
  std::map<std::string_view, std::string> paths_;  ///< Option -> the job's key that set it.
  std::vector<BrokenRule>& broken_;
  bool failed_ = false;
};

void set_open_options(const TunerSchema& schema, const RunFacts& facts, OptionsBuilder& builder) {
  for (const auto key : {"dim", "dims"}) {
    const TunerOption* option = find_option(schema, key);
    if (option != nullptr && option->required) builder.set_open(key, facts.hidden_size);
  }
  builder.set_open("total_step", facts.max_steps);
  const TunerOption* targets = find_option(schema, "target_modules");
  if (targets == nullptr) return;
  const auto special =
      std::find_if(kDefaultTargets.begin(), kDefaultTargets.end(),
                   [&](const DefaultTargets& each) { return each.tuner == schema.name; });
  if (special != kDefaultTargets.end()) {
    if (!special->json.empty()) builder.set_open("target_modules", Json::parse(special->json));
    return;
  }
  const auto scratch = schema.make();
  if (std::holds_alternative<TargetModules*>(targets->ref(scratch.get())))
    builder.set_open("target_modules", "all-linear");
}

std::string unknown_tuner(const std::string& name, bool with_full) {
  std::vector<std::string_view> names;
  for (const auto* schema : tuner_schemas()) names.push_back(schema->name);
  if (with_full) names.push_back("full");
  return no_such_tuner(name, names);
}

/// Reads a job's tuners; what is wrong goes to `broken`.
class JobTuners {
 public:
  JobTuners(const JobSpec& spec, const RunFacts& facts, std::vector<BrokenRule>& broken)
      : spec_(spec), facts_(facts), broken_(broken) {}

  NamedOptions read() {
    if (spec_.tuners.empty()) {
      read_flat();
    } else {
      read_map();
    }
    read_neftune();
    return std::move(tuners_);
  }

 private:
  void refuse_unused(const std::vector<FlatKey>& used, const TunerSchema* schema,
                     const std::string& with) {
    for (const auto key : unused_flat_keys(spec_, used)) {
      auto message = fmt::format("has no use with {}", with);
      if (schema != nullptr) {
        if (const auto own = own_keys_like(*schema, key); !own.empty())
          message += fmt::format(", use {}", fmt::join(own, " and "));
      }
      broken_.push_back({std::string(key), std::move(message)});
    }
  }

  void read_flat() {
    const std::string with = "tuner_type: " + spec_.tuner_type;
    if (spec_.tuner_type == "full") return refuse_unused({}, nullptr, with);
    const auto found = find_tuner_schema(spec_.tuner_type);
    if (!found) {
      broken_.push_back({"tuner_type", unknown_tuner(spec_.tuner_type, true)});
      return;
    }
    const TunerSchema& schema = **found;
    const auto keys = flat_keys(schema);
    if (!spec_.adapters.empty()) return;  // Their own options hold.
    refuse_unused(keys, &schema, with);
    OptionsBuilder builder(schema, "tuner_type", broken_);
    const Json job = Json::parse(to_json(spec_).dump());
    for (const auto& key : keys) {
      if (key.job_key == "target_modules") {
        set_targets(builder, *key.option);
      } else {
        builder.set(*key.option, job.at(std::string(key.job_key)), std::string(key.job_key));
      }
    }
    finish(schema.name == "reft" ? "reft" : "default", schema, builder);
  }

  /// The job's default, all-linear, leaves it to the tuner.
  void set_targets(OptionsBuilder& builder, const TunerOption& option) const {
    if (spec_.target_regex) return builder.set(option, *spec_.target_regex, "target_regex");
    if (spec_.target_modules != JobSpec{}.target_modules)
      builder.set(option, spec_.target_modules, "target_modules");
  }

  void read_map() {
    if (spec_.tuner_type != JobSpec{}.tuner_type)
      broken_.push_back({"tuner_type", "conflicts with tuners, which name their types: remove it"});
    refuse_unused({}, nullptr, "tuners: give it to the tuner it is for");
    for (const auto& [name, text] : spec_.tuners) read_entry(name, Json::parse(text));
  }

  void read_entry(const std::string& name, const Json& entry) {
    const std::string where = "tuners." + name;
    const bool taken = std::find(kTakenNames.begin(), kTakenNames.end(), name) != kTakenNames.end();
    const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '-' || c == '_';
    });
    if (name.empty() || !plain || taken)
      broken_.push_back({where,
                         "names are letters, digits, - and _, and not extra_states, peft "
                         "or state"});
    const auto type = entry.find("type");
    if (type == entry.end() || !type->is_string()) {
      broken_.push_back({where, "has no type: name one of `tunefleet tuners`, type: lora"});
      return;
    }
    const auto schema = find_tuner_schema(type->get<std::string>());
    if (!schema) {
      broken_.push_back({where + ".type", unknown_tuner(type->get<std::string>(), false)});
      return;
    }
    OptionsBuilder builder(**schema, where, broken_);
    for (const auto& [key, value] : entry.items()) {
      if (key == "type") continue;
      if (const TunerOption* option = find_option(**schema, key)) {
        builder.set(*option, value, where + "." + key);
      } else {
        builder.add(where + "." + key, unknown_option(**schema, key));
      }
    }
    finish(name, **schema, builder);
  }

  static std::string unknown_option(const TunerSchema& schema, const std::string& key) {
    std::vector<std::string_view> known;
    for (const auto& option : schema.options) known.push_back(option.key);
    if (const auto near = nearest_name(key, known))
      return fmt::format("{} has no such option, did you mean {}?", schema.name, *near);
    return fmt::format("{} has no such option, it has {}", schema.name, fmt::join(known, ", "));
  }

  void read_neftune() {
    if (!spec_.neftune_noise_alpha) return;
    const auto schema = find_tuner_schema("neftune");
    if (!schema) {
      broken_.push_back({"neftune_noise_alpha", schema.error().message});
      return;
    }
    OptionsBuilder builder(**schema, "neftune_noise_alpha", broken_);
    builder.set_open("noise_alpha", *spec_.neftune_noise_alpha);
    finish("neftune", **schema, builder);
  }

  void finish(const std::string& name, const TunerSchema& schema, OptionsBuilder& builder) {
    const bool twice = std::any_of(tuners_.begin(), tuners_.end(),
                                   [&](const auto& each) { return each.first == name; });
    if (twice) builder.add("tuners." + name, "two tuners would have this name: choose another");
    set_open_options(schema, facts_, builder);
    if (auto options = builder.finish()) tuners_.emplace_back(name, *std::move(options));
  }

  const JobSpec& spec_;
  const RunFacts& facts_;
  std::vector<BrokenRule>& broken_;
  NamedOptions tuners_;
};

}  // namespace

Result<NamedOptions> tuner_options_of_job(const JobSpec& spec, const RunFacts& facts) {
  std::vector<BrokenRule> broken;
  auto tuners = JobTuners(spec, facts, broken).read();
  if (broken.empty()) return tuners;
  std::string message;
  for (const auto& [key, text] : broken)
    message += fmt::format("{}{}: {}", message.empty() ? "" : "\n", key, text);
  return fail(ErrorCode::kInvalidArgument, std::move(message));
}

std::vector<BrokenRule> check_tuners(JobSpec& spec, const std::set<std::string>& given) {
  if (spec.tuners.empty()) {
    if (const auto schema = find_tuner_schema(spec.tuner_type))
      complete_flat_keys(**schema, given, spec);
  }
  std::vector<BrokenRule> broken;
  RunFacts facts;
  if (spec.max_steps > 0) facts.max_steps = spec.max_steps;
  JobTuners(spec, facts, broken).read();
  return broken;
}

}  // namespace tunefleet::tuners
