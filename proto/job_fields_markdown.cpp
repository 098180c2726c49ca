#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "proto/job_fields.h"

namespace tunefleet {
namespace {

constexpr std::string_view kHead = R"(# The job file

What `tunefleet submit` and `tunefleet-trainer run` read, and what `POST /v1/fine_tuning/jobs` takes beside OpenAI's own
keys: one YAML map, or a JSON object in a file whose name ends in `.json`. Keys and defaults are those of `swift sft`
(ms-swift 4.x), so that settings carry over.

```yaml
model: SmolLM2-135M-Instruct
dataset: devil.jsonl
lora_rank: 8
num_train_epochs: 2
workers: 2
```

`tuner_type` names one tuner, whose options are flat keys as `swift sft` has them. Any tuner with all its options, or several
at once, stand under `tuners`; `tunefleet tuners NAME` lists the options, which are those of adapter_config.json:

```yaml
tuners:
  style: {type: lora, r: 16, target_modules: [q_proj, v_proj]}
  facts: {type: ia3}
```

* Every problem of a file is reported at once, as `job.yaml:7: lora_rnak: unknown key, did you mean lora_rank?`.
  Keys of ms-swift that are not supported are refused with a word on what to use instead; none is ignored.
* Whole numbers are at most 4294967295, tuners' options too; seeds may be larger.
* A number may be written as text (`"1e-4"`), a list of one element without its brackets (`dataset: devil.jsonl`).
* A key without a value (`max_length:` or `null`) is unset, where the default below is *unset*, and an error elsewhere.
* YAML anchors and aliases are not read, and a key may stand once.
* args.json in a run directory and the API's answers hold every key with the value that was used.

The tables are written out of the one that the program itself reads by (`job_fields.cpp`).
)";

constexpr std::string_view kTail = R"(
## Rules over several keys

* `dataset` and `model` are required.
* `num_train_epochs` or `max_steps` is above 0; `warmup_steps` is not above `max_steps`.
* `eval_strategy` other than `no`, and `eval_steps`, need `val_dataset` or `split_dataset_ratio`, of which only one is set.
* `packing_length` needs `packing: true` and holds a row of `max_length`.
* `target_regex` stands alone: without `target_modules` and `layers_to_transform`.
* `resume_from_checkpoint` brings its adapters along: without `adapters`. Its base must be the job's, and a tuner that the job
  names must be among its own; options of theirs that the job has otherwise are without effect, with a warning.
* A key of tuners that the tuner in `tuner_type` does not take is an error unless it has its default. With `tuners` the flat
  keys of tuners have no place, and `tuner_type` stays out.
* The keys from `exclude_modules` to `alpha_pattern` that are not given have the tuner's own defaults, when it is not LoRA,
  LongLoRA or AdaLoRA; args.json says which. `target_modules: all-linear` leaves it to a tuner that does not act on linear
  layers where it acts (adapter: each MLP).
* Keys of full tuning need `tuner_type: full`, which goes without `adapters`; keys of GaLore need `use_galore: true`, which
  needs `tuner_type: full`.
* `galore_optim_per_parameter` needs `gradient_accumulation_steps: 1`, its default then.
* Keys of preferences need `rlhf_type: dpo`, which goes without `packing` and `truncation_strategy: split`; `label_smoothing` is
  for `loss_type` sigmoid and robust. A row is then a pair of answers, also where rows of a batch are counted.
* `galore_quantization` is AdamW's and goes with `galore_proj_type: std`; `galore_proj_quant`, `galore_cos_threshold`,
  `galore_gamma_proj` and `galore_queue_size` need it, `galore_proj_bits` and `galore_proj_group_size` need
  `galore_proj_quant: true`; `lisa_step_interval` needs `lisa_activated_layers`.
* `tuner_backend: unsloth` is for LoRA, LongLoRA and full tuning.
)";

std::string default_text(const nlohmann::json& value) {
  if (value.is_null()) return "*unset*";
  if (value.empty() || value == "") return "*empty*";
  if (value.is_array())
    return value.size() == 1 ? default_text(value[0]) : "`" + value.dump() + "`";
  return "`" + (value.is_string() ? value.get<std::string>() : value.dump()) + "`";
}

std::string kind_column(const JobField& field) {
  if (!field.allowed.empty()) return fmt::format("`{}`", fmt::join(field.allowed, "`, `"));
  const std::string limits = field.limits.text();
  return limits.empty() ? std::string(field.kind_text())
                        : fmt::format("{}, {}", field.kind_text(), limits);
}

}  // namespace

std::string job_spec_markdown() {
  const nlohmann::json defaults = to_json(JobSpec{});
  std::string text(kHead);
  std::string_view section;
  for (const auto& field : job_fields()) {
    if (field.section != section) {
      section = field.section;
      text += fmt::format("\n## {}\n\n| Key | Kind | Default | Meaning |\n|---|---|---|---|\n",
                          section);
    }
    text += fmt::format("| `{}` | {} | {} | {} |\n", field.key, kind_column(field),
                        default_text(defaults.at(std::string(field.key))), field.help);
  }
  return text + std::string(kTail);
}

}  // namespace tunefleet
