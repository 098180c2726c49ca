#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "proto/job_fields.h"
#include "proto/job_rules.h"
#include "proto/job_spec_parser.h"

namespace tunefleet {
namespace {

/// Draws a value that a field accepts, by the field's own limits and allowed values.
class AnyValue {
 public:
  explicit AnyValue(const JobField& field) : field_(field) {}

  void draw(std::string& value) const {
    value = field_.allowed.empty() ? any_text() : std::string(*rc::gen::elementOf(field_.allowed));
  }
  void draw(bool& value) const { value = *rc::gen::arbitrary<bool>(); }
  void draw(int64_t& value) const {
    value = *rc::gen::inRange<int64_t>(std::max<double>(field_.limits.min, -5),
                                       std::min<double>(field_.limits.max, 5000));
  }
  void draw(WorkerRange& value) const {
    draw(value.min);
    draw(value.max);
    if (value.min > value.max) std::swap(value.min, value.max);
  }
  void draw(double& value) const {
    const int64_t part = *rc::gen::inRange<int64_t>(1, 1'000'000'007);
    const double low = std::max<double>(field_.limits.min, -1000);
    const double top = std::min<double>(field_.limits.max, 1000);
    value = low + (top - low) * static_cast<double>(part) / 1'000'000'007.0;
  }
  template <typename T>
  void draw(std::optional<T>& value) const {
    value.reset();
    if (*rc::gen::arbitrary<bool>()) draw(value.emplace());
  }
  template <typename T>
  void draw(std::vector<T>& value) const {
    value.resize(*rc::gen::inRange<size_t>(0, 4));
    for (auto& element : value) draw(element);
  }
  template <typename T>
  void draw(std::map<std::string, T>& value) const {
    value.clear();
    for (int64_t i = *rc::gen::inRange(0, 4); i > 0; --i) draw(value[any_text()]);
  }

  void draw(std::map<std::string, std::string>& value) const {
    value.clear();
    for (int64_t i = *rc::gen::inRange(0, 4); i > 0; --i)
      value[any_text()] = nlohmann::json{{"type", any_text()}, {"r", i}, {"x", {true, 1.5}}}.dump();
  }

 private:
  static std::string any_text() {
    return *rc::gen::nonEmpty(
        rc::gen::container<std::string>(rc::gen::element('a', 'Z', '0', '.', '-', '~', '"', '\\')));
  }
  const JobField& field_;
};

/// Sets a key back to its default.
void reset(JobSpec& spec, const JobField& field) {
  const JobSpec defaults;
  std::visit([&](auto member) { spec.*member = defaults.*member; }, field.member);
}

void reset_keys(JobSpec& spec, const std::set<std::string_view>& keys) {
  for (const auto& field : job_fields()) {
    if (keys.contains(field.key)) reset(spec, field);
  }
}

/// Sets every key of a section back to its default.
void reset_section(JobSpec& spec, std::string_view section) {
  for (const auto& field : job_fields()) {
    if (field.section == section) reset(spec, field);
  }
}

void keep_rules_of_full_tuning(JobSpec& spec) {
  if (spec.tuner_type == "full") {
    spec.adapters.clear();
  } else {
    reset_section(spec, "Full tuning");
    spec.use_galore = false;
  }
  if (spec.lisa_activated_layers == 0) spec.lisa_step_interval = JobSpec{}.lisa_step_interval;
  if (!spec.use_galore) reset_section(spec, "GaLore");
  if (spec.galore_optim_per_parameter) spec.gradient_accumulation_steps = 1;
  if (!spec.galore_quantization) {
    reset_keys(spec, {"galore_proj_quant", "galore_cos_threshold", "galore_gamma_proj",
                      "galore_queue_size"});
  }
  if (!spec.galore_proj_quant) reset_keys(spec, {"galore_proj_bits", "galore_proj_group_size"});
  if (!spec.galore_quantization) return;
  spec.optim = "adamw_torch";
  spec.galore_proj_type = "std";
}

void keep_rules_of_preferences(JobSpec& spec) {
  if (!spec.rlhf_type) return reset_section(spec, "Preferences");
  spec.packing = false;
  spec.packing_length.reset();
  if (spec.truncation_strategy == "split") spec.truncation_strategy = "delete";
  if (spec.label_smoothing > 0) spec.loss_type = "robust";
}

/// Takes back what breaks a rule over several keys.
void keep_rules(JobSpec& spec) {
  if (spec.dataset.empty()) spec.dataset = {"d"};
  if (spec.max_steps == 0) spec.max_steps = -1;
  if (spec.max_steps > 0) spec.warmup_steps = std::min(spec.warmup_steps, spec.max_steps);
  if (!spec.val_dataset.empty()) spec.split_dataset_ratio = 0;
  spec.packing = spec.packing || spec.packing_length.has_value();
  if (spec.packing_length) spec.max_length.reset();
  if (spec.target_regex || spec.target_modules.empty()) spec.target_modules = {"all-linear"};
  if (spec.target_regex) spec.layers_to_transform.clear();
  if (spec.resume_from_checkpoint) spec.adapters.clear();
  if (spec.tuner_type != "full") spec.tuner_backend.reset();
  keep_rules_of_full_tuning(spec);
  keep_rules_of_preferences(spec);
  if (spec.name.size() > 64) spec.name.resize(64);
}

JobSpec any_valid_spec() {
  JobSpec spec;
  for (const auto& field : job_fields()) {
    std::visit([&](auto member) { AnyValue(field).draw(spec.*member); }, field.member);
  }
  if (*rc::gen::arbitrary<bool>()) spec.tuner_type = "full";
  keep_rules(spec);
  return spec;
}

TEST(JobSpecLaws, WhatIsWrittenIsReadBack) {
  EXPECT_TRUE(rc::check("parse(to_json(spec)) == spec", [] {
    const JobSpec spec = any_valid_spec();
    RC_PRE(broken_rules(spec).empty());  // eval_steps without data is left
    const nlohmann::json written = to_json(spec);
    const auto parsed = parse_job_json(written);
    for (const auto& problem : parsed.problems) RC_FAIL(to_string(problem));
    RC_ASSERT(to_json(parsed.spec).dump(2) == written.dump(2));  // Text: RapidCheck shows it.
    const auto from_text = parse_job_json_text(written.dump(2), "job.json");
    RC_ASSERT(from_text.problems.empty());
    RC_ASSERT(to_json(from_text.spec).dump(2) == written.dump(2));
  }));
}

/// Text out of pieces that mean something to the readers, and some bytes that mean nothing to
/// anyone.
std::string garbage(std::mt19937_64& random) {
  static const std::vector<std::string> pieces{"model",
                                               "dataset",
                                               "lora_rank",
                                               "workers",
                                               "rank_pattern",
                                               ":",
                                               ": ",
                                               "\n",
                                               "\n  ",
                                               "- ",
                                               "[",
                                               "]",
                                               "{",
                                               "}",
                                               ",",
                                               "\"",
                                               "'",
                                               "&a",
                                               "*a",
                                               "|",
                                               ">",
                                               "!!int ",
                                               "%",
                                               "---\n",
                                               "...\n",
                                               "null",
                                               "~",
                                               "true",
                                               "1e999",
                                               "-0",
                                               "0x10",
                                               "1..2",
                                               "\xff",
                                               "\xe2\x82",
                                               "\t",
                                               "#",
                                               "?",
                                               "? ",
                                               "\\u12",
                                               "\\0",
                                               std::string(1, '\0'),
                                               "<<",
                                               "é",
                                               "😀",
                                               "9223372036854775808"};
  std::string text;
  for (size_t count = random() % 40; count > 0; --count) text += pieces[random() % pieces.size()];
  return text;
}

TEST(JobSpecLaws, GarbageIsAlwaysAValidJobOrProblems) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = garbage(random);
    for (const auto& parsed :
         {parse_job_yaml(text, "g.yaml"), parse_job_json_text(text, "g.json")}) {
      if (parsed.problems.empty()) {
        EXPECT_TRUE(broken_rules(parsed.spec).empty()) << text;
        EXPECT_NO_THROW(to_json(parsed.spec).dump()) << text;
      }
      for (const auto& problem : parsed.problems)
        EXPECT_NO_THROW(nlohmann::json(to_string(problem)).dump()) << text;
    }
  }
}

TEST(JobSpecLaws, ADamagedJobIsAlwaysAValidJobOrProblems) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  JobSpec spec;
  spec.model = "m";
  spec.dataset = {"d"};
  const std::string whole = to_json(spec).dump(1);
  for (int i = 0; i < 5'000; ++i) {
    std::string text = whole;
    for (size_t flips = 1 + random() % 3; flips > 0; --flips)
      text[random() % text.size()] = static_cast<char>(random());
    if (random() % 4 == 0) text.resize(random() % text.size());
    for (const auto& parsed :
         {parse_job_yaml(text, "g.yaml"), parse_job_json_text(text, "g.json")}) {
      for (const auto& problem : parsed.problems)
        EXPECT_NO_THROW(nlohmann::json(to_string(problem)).dump()) << text;
    }
  }
}

}  // namespace
}  // namespace tunefleet
