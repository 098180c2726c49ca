#include "tuners/registry.h"

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "tuners/adalora.h"
#include "tuners/boft.h"
#include "tuners/bottleneck.h"
#include "tuners/c3a.h"
#include "tuners/config/boft_options.h"
#include "tuners/config/c3a_options.h"
#include "tuners/config/fourierft_options.h"
#include "tuners/config/hra_options.h"
#include "tuners/config/ln_tuning_options.h"
#include "tuners/config/miss_options.h"
#include "tuners/config/oft_options.h"
#include "tuners/config/waveft_options.h"
#include "tuners/fourierft.h"
#include "tuners/hira.h"
#include "tuners/hra.h"
#include "tuners/ia3.h"
#include "tuners/llama_pro.h"
#include "tuners/ln_tuning.h"
#include "tuners/loha.h"
#include "tuners/lokr.h"
#include "tuners/long_lora.h"
#include "tuners/lora_adapter.h"
#include "tuners/miss.h"
#include "tuners/neftune.h"
#include "tuners/oft.h"
#include "tuners/part.h"
#include "tuners/prompt.h"
#include "tuners/randlora.h"
#include "tuners/reft.h"
#include "tuners/res_tuning.h"
#include "tuners/road.h"
#include "tuners/sce_tuning.h"
#include "tuners/shira.h"
#include "tuners/side.h"
#include "tuners/trainable_tokens.h"
#include "tuners/vblora.h"
#include "tuners/vera.h"
#include "tuners/virtual_token_tuners.h"
#include "tuners/waveft.h"

namespace tunefleet::tuners {

const std::vector<TunerEntry>& builtin_tuners() {
  static const std::vector<TunerEntry> entries{
      {&AdaloraOptions::schema(), &AdaloraAdapter::make},
      {&BoftOptions::schema(), &make_boft},
      {&BoneOptions::schema(), &make_bone},
      {&BottleneckOptions::schema(), &BottleneckAdapter::make},
      {&C3aOptions::schema(), &make_c3a},
      {&FourierftOptions::schema(), &make_fourierft},
      {&HiraOptions::schema(), &make_hira},
      {&HraOptions::schema(), &make_hra},
      {&Ia3Options::schema(), &make_ia3},
      {&LlamaProOptions::schema(), &LlamaProAdapter::make},
      {&LnTuningOptions::schema(), &LnTuningAdapter::make},
      {&LohaOptions::schema(), &make_loha},
      {&LokrOptions::schema(), &make_lokr},
      {&LongLoraOptions::schema(), &LongLoraAdapter::make},
      {&LoraOptions::schema(), &LoraAdapter::make},
      {&MissOptions::schema(), &make_miss},
      {&NeftuneOptions::schema(), &NeftuneAdapter::make},
      {&OftOptions::schema(), &make_oft},
      {&PartOptions::schema(), &PartAdapter::make},
      {&PrefixTuningOptions::schema(), &VirtualTokenAdapter::make_prefix_tuning},
      {&PromptOptions::schema(), &PromptAdapter::make},
      {&PromptTuningOptions::schema(), &VirtualTokenAdapter::make_prompt_tuning},
      {&PTuningOptions::schema(), &VirtualTokenAdapter::make_p_tuning},
      {&RandloraOptions::schema(), &RandloraAdapter::make},
      {&ReftOptions::schema(), &ReftAdapter::make},
      {&ResTuningOptions::schema(), &ResTuningAdapter::make},
      {&RoadOptions::schema(), &make_road},
      {&SceTuningOptions::schema(), &SceTuningAdapter::make},
      {&ShiraOptions::schema(), &ShiraAdapter::make},
      {&SideOptions::schema(), &SideAdapter::make},
      {&TrainableTokensOptions::schema(), &TrainableTokensAdapter::make},
      {&VbloraOptions::schema(), &VbloraAdapter::make},
      {&VeraOptions::schema(), &VeraAdapter::make},
      {&WaveftOptions::schema(), &make_waveft},
  };
  return entries;
}

Result<std::unique_ptr<Adapter>> make_adapter(const TunerOptions& options,
                                              const AdapterRequest& request) {
  for (const auto& entry : builtin_tuners()) {
    if (entry.schema == &options.schema()) return entry.make(options, request);
  }
  throw std::logic_error(
      c10::str("tuner is not in the registry: ", std::string(options.schema().name)));
}

}  // namespace tunefleet::tuners
