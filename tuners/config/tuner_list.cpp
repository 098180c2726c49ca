#include "tuners/config/tuner_list.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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

Result<const TunerSchema*> find_tuner_schema(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto* schema : tuner_schemas()) {
    if (schema->name == name) return schema;
    names.push_back(schema->name);
  }
  const auto near = nearest_name(name, names);
  return fail(ErrorCode::kInvalidArgument,
              near ? fmt::format("no such tuner, did you mean {}?: {}", *near, name)
                   : fmt::format("no such tuner, known are {}: {}", fmt::join(names, ", "), name));
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
