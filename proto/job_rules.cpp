#include "proto/job_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "proto/job_fields.h"
#include "proto/utf8_text.h"

namespace tunefleet {
namespace {

using Rules = std::vector<BrokenRule>;

constexpr size_t kLongestName = 64;

void check_required(const JobSpec& spec, Rules& broken) {
  if (spec.model.empty())
    broken.push_back({"model", "is required: a name under the models directory, or a path"});
  if (spec.dataset.empty())
    broken.push_back({"dataset", "is required: the path of a JSONL or JSON file, or several"});
}

void check_length_of_run(const JobSpec& spec, Rules& broken) {
  if (spec.max_steps == 0) {
    broken.push_back(
        {"max_steps", "must be above 0, or -1 to leave the length to num_train_epochs: got 0"});
  } else if (spec.max_steps < 0 && spec.num_train_epochs <= 0) {
    broken.push_back({"num_train_epochs", "must be above 0 when max_steps is not set"});
  } else if (spec.max_steps > 0 && spec.warmup_steps > spec.max_steps) {
    broken.push_back(
        {"warmup_steps", fmt::format("the warm-up is longer than the run of max_steps: {} > {}",
                                     spec.warmup_steps, spec.max_steps)});
  }
}

void check_evaluation(const JobSpec& spec, Rules& broken) {
  const bool has_data = !spec.val_dataset.empty() || spec.split_dataset_ratio > 0;
  if (!has_data && spec.eval_strategy.value_or("no") != "no") {
    broken.push_back(
        {"eval_strategy", "needs data to evaluate on: set val_dataset or split_dataset_ratio"});
  }
  if (!has_data && spec.eval_steps) {
    broken.push_back(
        {"eval_steps", "needs data to evaluate on: set val_dataset or split_dataset_ratio"});
  }
  if (!spec.val_dataset.empty() && spec.split_dataset_ratio > 0) {
    broken.push_back({"split_dataset_ratio", "conflicts with val_dataset: set one of them"});
  }
}

void check_packing(const JobSpec& spec, Rules& broken) {
  if (!spec.packing_length) return;
  if (!spec.packing) broken.push_back({"packing_length", "has no use without packing: true"});
  if (spec.max_length && *spec.max_length > *spec.packing_length) {
    broken.push_back({"packing_length", fmt::format("does not hold a row of max_length: {} < {}",
                                                    *spec.packing_length, *spec.max_length)});
  }
}

/// A name in target_modules is matched at the end of a path: one with a comma or a blank can never
/// match.
bool looks_like_several(const std::string& name) {
  return name.find_first_of(", \t\n") != std::string::npos;
}

void check_targets(const JobSpec& spec, Rules& broken) {
  const auto several =
      std::find_if(spec.target_modules.begin(), spec.target_modules.end(), looks_like_several);
  if (several != spec.target_modules.end()) {
    broken.push_back(
        {"target_modules",
         fmt::format("several names are a list, [q_proj, v_proj]: got `{}`", *several)});
  }
  if (!spec.target_regex) {
    if (spec.target_modules.empty())
      broken.push_back({"target_modules", "is empty: name modules, or all-linear"});
    return;
  }
  if (spec.target_modules != JobSpec{}.target_modules) {
    broken.push_back({"target_regex", "conflicts with target_modules: set one of them"});
  }
  if (!spec.layers_to_transform.empty()) {
    broken.push_back(
        {"layers_to_transform", "conflicts with target_regex: say the layers in the expression"});
  }
}

/// Keys whose values are not the default, of those that `concerned` picks: they would be without
/// effect.
template <typename Concerned>
void check_unused(const JobSpec& spec, const Concerned& concerned, std::string_view wanted,
                  Rules& broken) {
  const JobSpec defaults;
  for (const auto& field : job_fields()) {
    if (!concerned(field)) continue;
    const bool given =
        std::visit([&](auto member) { return spec.*member != defaults.*member; }, field.member);
    if (given) {
      broken.push_back({std::string(field.key), fmt::format("has no use without {}", wanted)});
    }
  }
}

void check_unused_section(const JobSpec& spec, std::string_view section, std::string_view wanted,
                          Rules& broken) {
  check_unused(
      spec, [&](const auto& field) { return field.section == section; }, wanted, broken);
}

void check_unused_keys(const JobSpec& spec, const std::set<std::string_view>& keys,
                       std::string_view wanted, Rules& broken) {
  check_unused(
      spec, [&](const auto& field) { return keys.contains(field.key); }, wanted, broken);
}

void check_full(const JobSpec& spec, Rules& broken) {
  if (spec.tuner_type != "full") {
    check_unused_section(spec, "Full tuning", "tuner_type: full", broken);
    return;
  }
  if (spec.lisa_activated_layers == 0)
    check_unused_keys(spec, {"lisa_step_interval"}, "lisa_activated_layers", broken);
  if (!spec.adapters.empty()) {
    broken.push_back({"adapters",
                      "conflicts with tuner_type full: merge the adapter first, and "
                      "name the merged model under model"});
  }
}

void check_galore(const JobSpec& spec, Rules& broken) {
  if (!spec.use_galore) return check_unused_section(spec, "GaLore", "use_galore: true", broken);
  if (spec.tuner_type != "full")
    broken.push_back({"use_galore", "trains whole matrices: set tuner_type: full"});
  if (spec.galore_optim_per_parameter && spec.gradient_accumulation_steps.value_or(1) > 1) {
    broken.push_back({"galore_optim_per_parameter",
                      "frees each gradient at once, nothing can be accumulated: set "
                      "gradient_accumulation_steps: 1"});
  }
  if (!spec.galore_proj_quant) {
    check_unused_keys(spec, {"galore_proj_bits", "galore_proj_group_size"},
                      "galore_proj_quant: true", broken);
  }
  if (!spec.galore_quantization) {
    check_unused_keys(
        spec,
        {"galore_proj_quant", "galore_cos_threshold", "galore_gamma_proj", "galore_queue_size"},
        "galore_quantization: true", broken);
    return;
  }
  if (spec.optim == "adafactor")
    broken.push_back({"optim", "must be an AdamW with galore_quantization, got adafactor"});
  if (spec.galore_proj_type != "std") {
    broken.push_back(
        {"galore_proj_type", "must be std with galore_quantization, got " + spec.galore_proj_type});
  }
}

void check_preferences(const JobSpec& spec, Rules& broken) {
  if (!spec.rlhf_type) return check_unused_section(spec, "Preferences", "rlhf_type: dpo", broken);
  if (spec.packing) {
    broken.push_back({"packing",
                      "has no use with rlhf_type, whose batches have no padding: set "
                      "per_device_train_batch_size"});
  }
  if (spec.truncation_strategy == "split") {
    broken.push_back({"truncation_strategy",
                      "must be delete, left or right with rlhf_type, got split: the parts of two "
                      "answers make no pairs"});
  }
  const bool smooths = spec.loss_type == "sigmoid" || spec.loss_type == "robust";
  if (spec.label_smoothing > 0 && !smooths) {
    broken.push_back({"label_smoothing",
                      fmt::format("is for loss_type sigmoid and robust, got {}", spec.loss_type)});
  }
}

/// UnSloth's way is LoRA's; of full tuning it is the kernels, which are always on.
void check_backend(const JobSpec& spec, Rules& broken) {
  const std::set<std::string_view> ways{"lora", "longlora", "full"};
  if (spec.tuner_backend != "unsloth" || !spec.tuners.empty() || ways.contains(spec.tuner_type))
    return;
  broken.push_back({"tuner_backend",
                    "unsloth is a way to compute LoRA, it has no use with "
                    "tuner_type: " +
                        spec.tuner_type});
}

void check_start(const JobSpec& spec, Rules& broken) {
  if (spec.resume_from_checkpoint && spec.resume_from_checkpoint->empty()) {
    broken.push_back({"resume_from_checkpoint", "is empty: a checkpoint directory, or latest"});
  }
  if (spec.resume_from_checkpoint && !spec.adapters.empty()) {
    broken.push_back(
        {"adapters",
         "conflicts with resume_from_checkpoint, which brings its own: set one of them"});
  }
}

void check_name(const JobSpec& spec, Rules& broken) {
  const size_t characters = characters_in(spec.name);
  if (characters > kLongestName) {
    broken.push_back(
        {"name", fmt::format("is longer than {} characters: {}", kLongestName, characters)});
  }
  const auto refused = [](char c) {
    return c == '/' || c == ':' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  };
  if (std::any_of(spec.name.begin(), spec.name.end(), refused)) {
    broken.push_back(
        {"name", "holds a character that names may not have: / : or a control character"});
  }
}

}  // namespace

std::vector<BrokenRule> broken_rules(const JobSpec& spec) {
  Rules broken;
  check_required(spec, broken);
  check_length_of_run(spec, broken);
  check_evaluation(spec, broken);
  check_packing(spec, broken);
  check_targets(spec, broken);
  check_full(spec, broken);
  check_galore(spec, broken);
  check_preferences(spec, broken);
  check_backend(spec, broken);
  check_start(spec, broken);
  check_name(spec, broken);
  return broken;
}

}  // namespace tunefleet
