#include "coordinator/client/training_methods.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "coordinator/client/json_fields.h"
#include "coordinator/client/text_format.h"
#include "proto/job_fields.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kWidestDefault = 24;

const JobField& field_of(std::string_view key) {
  if (const JobField* field = find_job_field(key)) return *field;
  throw std::logic_error(fmt::format("the job file has no such key: {}", key));
}

json default_of(const JobField& field) { return to_json(JobSpec{}).at(std::string(field.key)); }

std::string default_text(const JobField& field) {
  const json value = default_of(field);
  if (value.is_null() || (value.is_structured() && value.empty()) || value == "") return "-";
  return cut_to_width(value.is_string() ? value.get<std::string>() : value.dump(), kWidestDefault);
}

/// The key's meaning, with what it may be.
std::string meaning(const JobField& field) {
  std::string text(field.help);
  if (std::string limits = field.limits.text(); !limits.empty()) {
    limits.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(limits.front())));
    text += fmt::format(" {}.", limits);
  }
  if (!field.allowed.empty()) text += fmt::format(" One of: {}.", fmt::join(field.allowed, ", "));
  return text;
}

}  // namespace

const std::vector<TrainingMethod>& training_methods() {
  static const std::vector<TrainingMethod> methods{
      {.name = "full",
       .aliases = {},
       .summary = "trains the base's own weights, all or some of them",
       .source = "",
       .settings = "tuner_type: full",
       .keys = {"freeze_parameters", "freeze_parameters_regex", "freeze_parameters_ratio",
                "trainable_parameters", "trainable_parameters_regex"}},
      {.name = "lisa",
       .aliases = {},
       .summary = "full tuning of a few layers at a time, drawn anew every few steps",
       .source = "arXiv:2403.17919",
       .settings = "tuner_type: full, lisa_activated_layers: 2",
       .keys = {"lisa_activated_layers", "lisa_step_interval"}},
      {.name = "galore",
       .aliases = {},
       .summary = "full tuning with the optimizer's state in a low-rank subspace of the gradients",
       .source = "arXiv:2403.03507",
       .settings = "tuner_type: full, use_galore: true",
       .keys = {"use_galore", "galore_target_modules", "galore_rank", "galore_update_proj_gap",
                "galore_scale", "galore_proj_type", "galore_with_embedding",
                "galore_optim_per_parameter", "galore_svd"}},
      {.name = "q-galore",
       .aliases = {"q_galore", "qgalore"},
       .summary = "GaLore in 8 bits, its subspaces found anew only while they move; GaLore's keys "
                  "hold too",
       .source = "arXiv:2407.08296",
       .settings = "tuner_type: full, use_galore: true, galore_quantization: true",
       .keys = {"galore_quantization", "galore_int8_weights", "galore_proj_quant",
                "galore_proj_bits", "galore_proj_group_size", "galore_cos_threshold",
                "galore_gamma_proj", "galore_queue_size"}},
      {.name = "lora+",
       .aliases = {"lora_plus", "loraplus"},
       .summary = "LoRA whose B learns faster than its A",
       .source = "arXiv:2402.12354",
       .settings = "tuner_type: lora, lorap_lr_ratio: 16",
       .keys = {"lorap_lr_ratio"}},
      {.name = "liger",
       .aliases = {"liger_kernel"},
       .summary = "fused kernels: the same results with less memory and time; on unless turned off",
       .source = "arXiv:2410.10989",
       .settings = "use_liger_kernel: true",
       .keys = {"use_liger_kernel"}},
      {.name = "unsloth",
       .aliases = {},
       .summary = "LoRA's forward and backward pass written by hand; on unless turned off",
       .source = "github.com/unslothai/unsloth",
       .settings = "tuner_backend: unsloth",
       .keys = {"tuner_backend"}},
      {.name = "neftune",
       .aliases = {},
       .summary = "noise on the embeddings in training, beside any tuner",
       .source = "arXiv:2310.05914",
       .settings = "neftune_noise_alpha: 5",
       .keys = {"neftune_noise_alpha"}},
  };
  return methods;
}

const TrainingMethod* find_training_method(std::string_view name) {
  for (const auto& method : training_methods()) {
    const auto& aliases = method.aliases;
    if (method.name == name || std::find(aliases.begin(), aliases.end(), name) != aliases.end())
      return &method;
  }
  return nullptr;
}

std::string training_methods_table(size_t width) {
  std::vector<std::vector<std::string>> rows{{"METHOD", "WHAT IT IS"}};
  for (const auto& method : training_methods())
    rows.push_back({std::string(method.name), std::string(method.summary)});
  return format_table(rows, width);
}

std::string job_keys_table(const TrainingMethod& method, size_t width) {
  std::vector<std::vector<std::string>> rows{{"JOB KEY", "KIND", "DEFAULT", "MEANING"}};
  for (const auto key : method.keys) {
    const JobField& field = field_of(key);
    rows.push_back(
        {std::string(key), std::string(field.kind_text()), default_text(field), meaning(field)});
  }
  return format_table(rows, width);
}

std::string training_method_page(const TrainingMethod& method, size_t width) {
  std::string text = fmt::format("{}: {}\n", method.name, method.summary);
  if (!method.source.empty()) text += fmt::format("  {:<10}{}\n", "source", method.source);
  text += fmt::format("  {:<10}{}\n", "in a job", method.settings);
  return text + "\n" + job_keys_table(method, width);
}

json training_method_json(const TrainingMethod& method) {
  json options = json::array();
  for (const auto key : method.keys) {
    const JobField& field = field_of(key);
    options.push_back({{"key", field.key},
                       {"job_key", field.key},
                       {"kind", field.kind_text()},
                       {"default", default_of(field)},
                       {"limits", limits_json(field.limits)},
                       {"allowed", field.allowed},
                       {"required", false},
                       {"files", "none"},
                       {"help", field.help}});
  }
  return {{"name", method.name},
          {"adapter", false},
          {"summary", method.summary},
          {"source", method.source.empty() ? json() : json(method.source)},
          {"peft_type", nullptr},
          {"swift_type", nullptr},
          {"formats", json::array()},
          {"can_merge", false},
          {"settings", method.settings},
          {"options", options}};
}

}  // namespace tunefleet::coordinator
