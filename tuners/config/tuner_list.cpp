#include "tuners/config/tuner_list.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "proto/nearest_name.h"
#include "tuners/config/adalora_options.h"
#include "tuners/config/boft_options.h"
#include "tuners/config/bottleneck_options.h"
#include "tuners/config/c3a_options.h"
#include "tuners/config/fourierft_options.h"
#include "tuners/config/hira_options.h"
#include "tuners/config/hra_options.h"
#include "tuners/config/ia3_options.h"
#include "tuners/config/llama_pro_options.h"
#include "tuners/config/ln_tuning_options.h"
#include "tuners/config/loha_options.h"
#include "tuners/config/lokr_options.h"
#include "tuners/config/long_lora_options.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/miss_options.h"
#include "tuners/config/neftune_options.h"
#include "tuners/config/oft_options.h"
#include "tuners/config/part_options.h"
#include "tuners/config/prompt_options.h"
#include "tuners/config/randlora_options.h"
#include "tuners/config/reft_options.h"
#include "tuners/config/res_tuning_options.h"
#include "tuners/config/road_options.h"
#include "tuners/config/sce_tuning_options.h"
#include "tuners/config/shira_options.h"
#include "tuners/config/side_options.h"
#include "tuners/config/trainable_tokens_options.h"
#include "tuners/config/vblora_options.h"
#include "tuners/config/vera_options.h"
#include "tuners/config/virtual_token_options.h"
#include "tuners/config/waveft_options.h"

namespace tunefleet::tuners {
namespace {

/// Names of methods that are another tuner's options, or ours under another name.
constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kElsewhere{{
    {"dora", "lora with use_dora: true"},
    {"galore", "tuner_type: full with use_galore: true"},
    {"lisa", "tuner_type: full with lisa_activated_layers"},
    {"liger", "any tuner with use_liger_kernel: true"},
    {"lora+", "lora with lorap_lr_ratio"},
    {"loraplus", "lora with lorap_lr_ratio"},
    {"loreft", "reft"},
    {"olora", "lora whose initial weights are olora"},
    {"pissa", "lora whose initial weights are pissa"},
    {"q-galore", "tuner_type: full with use_galore and galore_quantization"},
    {"rslora", "lora with use_rslora: true"},
    {"scedit", "scetuning"},
    {"unsloth", "lora with tuner_backend: unsloth"},
    {"vpt", "prompt"},
}};

std::string lower_case(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

}  // namespace

const std::vector<const TunerSchema*>& tuner_schemas() {
  static const std::vector<const TunerSchema*> schemas{
      &AdaloraOptions::schema(),
      &BoftOptions::schema(),
      &BoneOptions::schema(),
      &BottleneckOptions::schema(),
      &C3aOptions::schema(),
      &FourierftOptions::schema(),
      &HiraOptions::schema(),
      &HraOptions::schema(),
      &Ia3Options::schema(),
      &LlamaProOptions::schema(),
      &LnTuningOptions::schema(),
      &LohaOptions::schema(),
      &LokrOptions::schema(),
      &LongLoraOptions::schema(),
      &LoraOptions::schema(),
      &MissOptions::schema(),
      &NeftuneOptions::schema(),
      &OftOptions::schema(),
      &PartOptions::schema(),
      &PrefixTuningOptions::schema(),
      &PromptOptions::schema(),
      &PromptTuningOptions::schema(),
      &PTuningOptions::schema(),
      &RandloraOptions::schema(),
      &ReftOptions::schema(),
      &ResTuningOptions::schema(),
      &RoadOptions::schema(),
      &SceTuningOptions::schema(),
      &ShiraOptions::schema(),
      &SideOptions::schema(),
      &TrainableTokensOptions::schema(),
      &VbloraOptions::schema(),
      &VeraOptions::schema(),
      &WaveftOptions::schema(),
  };
  return schemas;
}

std::string no_such_tuner(std::string_view name, const std::vector<std::string_view>& names) {
  const auto elsewhere = std::find_if(kElsewhere.begin(), kElsewhere.end(), [&](const auto& each) {
    return each.first == lower_case(name);
  });
  if (elsewhere != kElsewhere.end())
    return fmt::format("no such tuner, it is {}: {}", elsewhere->second, name);
  if (const auto near = nearest_name(lower_case(name), names))
    return fmt::format("no such tuner, did you mean {}?: {}", *near, name);
  return fmt::format("no such tuner, there are {}: {}", fmt::join(names, ", "), name);
}

Result<const TunerSchema*> find_tuner_schema(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto* schema : tuner_schemas()) {
    if (schema->name == name) return schema;
    names.push_back(schema->name);
  }
  return fail(ErrorCode::kInvalidArgument, no_such_tuner(name, names));
}

Result<const TunerSchema*> find_tuner_schema(const AdapterKind& kind) {
  std::vector<std::string_view> types;
  for (const auto* schema : tuner_schemas()) {
    const bool named = kind.swift_type.empty()
                           ? !schema->peft_type.empty() && schema->peft_type == kind.peft_type
                           : schema->swift_type == kind.swift_type;
    if (named) return schema;
    types.push_back(schema->peft_type.empty() ? schema->swift_type : schema->peft_type);
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("no such tuner, known are {}: {}", fmt::join(types, ", "),
                          kind.swift_type.empty() ? kind.peft_type : kind.swift_type));
}

}  // namespace tunefleet::tuners
