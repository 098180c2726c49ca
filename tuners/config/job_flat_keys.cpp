#include "tuners/config/job_flat_keys.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "proto/job_fields.h"
#include "proto/job_value.h"

namespace tunefleet::tuners {
namespace {

/// A key of one tuner.
struct OwnKey {
  std::string_view tuner;
  std::string_view job_key;
  std::string_view option;
};

// Source: ms-swift 4.6, what each tuner_type makes of the arguments.
constexpr std::array kOwnKeys{
    OwnKey{"adalora", "adalora_target_r", "target_r"},
    OwnKey{"adalora", "adalora_init_r", "init_r"},
    OwnKey{"adalora", "adalora_tinit", "tinit"},
    OwnKey{"adalora", "adalora_tfinal", "tfinal"},
    OwnKey{"adalora", "adalora_deltaT", "deltaT"},
    OwnKey{"adalora", "adalora_beta1", "beta1"},
    OwnKey{"adalora", "adalora_beta2", "beta2"},
    OwnKey{"adalora", "adalora_orth_reg_weight", "orth_reg_weight"},
    OwnKey{"adapter", "adapter_act", "act_layer"},
    OwnKey{"adapter", "adapter_length", "adapter_length"},
    OwnKey{"boft", "boft_block_size", "boft_block_size"},
    OwnKey{"boft", "boft_block_num", "boft_block_num"},
    OwnKey{"boft", "boft_n_butterfly_factor", "boft_n_butterfly_factor"},
    OwnKey{"boft", "boft_dropout", "boft_dropout"},
    OwnKey{"fourierft", "fourier_n_frequency", "n_frequency"},
    OwnKey{"fourierft", "fourier_scaling", "scaling"},
    OwnKey{"llamapro", "llamapro_num_new_blocks", "num_new_blocks"},
    OwnKey{"llamapro", "llamapro_num_groups", "num_groups"},
    OwnKey{"reft", "reft_layer_key", "layer_key"},
    OwnKey{"reft", "reft_layers", "layers"},
    OwnKey{"reft", "reft_rank", "r"},
    OwnKey{"reft", "reft_intervention_type", "intervention_type"},
    OwnKey{"reft", "reft_args", "args"},
    OwnKey{"vera", "vera_rank", "r"},
    OwnKey{"vera", "vera_projection_prng_key", "projection_prng_key"},
    OwnKey{"vera", "vera_dropout", "vera_dropout"},
    OwnKey{"vera", "vera_d_initial", "d_initial"},
};

/// A key that many tuners have, under one of these names; `*` stands for the tuner's.
struct SharedKey {
  std::string_view job_key;
  std::array<std::string_view, 3> options;
};

constexpr std::array kSharedKeys{
    SharedKey{"target_modules", {"target_modules"}},
    SharedKey{"exclude_modules", {"exclude_modules"}},
    SharedKey{"modules_to_save", {"modules_to_save"}},
    SharedKey{"layers_to_transform", {"layers_to_transform"}},
    SharedKey{"lora_rank", {"r"}},
    SharedKey{"lora_alpha", {"lora_alpha", "alpha", "*_alpha"}},
    SharedKey{"lora_dropout", {"lora_dropout", "*_dropout"}},
    SharedKey{"lora_bias", {"bias"}},
    SharedKey{"lora_dtype", {"lora_dtype"}},
    SharedKey{"use_rslora", {"use_rslora"}},
    SharedKey{"use_dora", {"use_dora"}},
    SharedKey{"lorap_lr_ratio", {"lorap_lr_ratio"}},
    SharedKey{"init_weights", {"init_lora_weights", "init_weights"}},
    SharedKey{"rank_pattern", {"rank_pattern"}},
    SharedKey{"alpha_pattern", {"alpha_pattern"}},
};

/// Tuners whose `r` is not the rank of an update: AdaLoRA's is not looked at, OFT's counts blocks.
constexpr std::array kOtherRanks{std::string_view("adalora"), std::string_view("oft")};

/// Where LoRA's part of ms-swift's defaults holds.
constexpr std::array kLoraFamily{std::string_view("adalora"), std::string_view("longlora"),
                                 std::string_view("lora")};

template <size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool has_own_key_for(const TunerSchema& schema, std::string_view option) {
  return std::any_of(kOwnKeys.begin(), kOwnKeys.end(), [&](const OwnKey& own) {
    return own.tuner == schema.name && own.option == option;
  });
}

const TunerOption* shared_option(const TunerSchema& schema, const SharedKey& key) {
  for (const auto name : key.options) {
    if (name.empty()) continue;
    const std::string full = name.starts_with('*')
                                 ? std::string(schema.name) + std::string(name.substr(1))
                                 : std::string(name);
    if (const TunerOption* option = find_option(schema, full)) return option;
  }
  return nullptr;
}

std::vector<FlatKey> shared_keys(const TunerSchema& schema) {
  std::vector<FlatKey> keys;
  for (const auto& key : kSharedKeys) {
    const TunerOption* option = shared_option(schema, key);
    if (option == nullptr || has_own_key_for(schema, option->key)) continue;
    if (option->key == "r" && is_one_of(kOtherRanks, schema.name)) continue;
    keys.push_back({key.job_key, option});
  }
  return keys;
}

bool is_default(const JobSpec& spec, const JobField& field) {
  const JobSpec defaults;
  return std::visit([&](auto member) { return spec.*member == defaults.*member; }, field.member);
}

bool is_flat(const JobField& field) {
  return field.section == "Tuners" || field.section == "Single tuners";
}

}  // namespace

std::vector<FlatKey> flat_keys(const TunerSchema& schema) {
  auto keys = shared_keys(schema);
  for (const auto& own : kOwnKeys) {
    if (own.tuner != schema.name) continue;
    if (const TunerOption* option = find_option(schema, own.option))
      keys.push_back({own.job_key, option});
  }
  return keys;
}

void complete_flat_keys(const TunerSchema& schema, const std::set<std::string>& given,
                        JobSpec& spec) {
  if (is_one_of(kLoraFamily, schema.name)) return;
  const TunerOptions defaults(schema, schema.make());
  for (const auto& key : shared_keys(schema)) {
    const bool places = key.job_key == "target_modules";
    if (places || given.contains(std::string(key.job_key))) continue;
    const auto node = tree_of_json(nlohmann::json::parse(option_json(defaults, *key.option)));
    if (!node || node->kind == JobNode::Kind::kNull) continue;
    // What the flat key cannot say (a rank of 0) stays at the tuner's own default, see job_options.
    std::ignore = read_value(*find_job_field(key.job_key), *node, spec);
  }
}

std::vector<std::string_view> unused_flat_keys(const JobSpec& spec,
                                               const std::vector<FlatKey>& used) {
  std::vector<std::string_view> unused;
  for (const auto& field : job_fields()) {
    if (!is_flat(field) || is_default(spec, field)) continue;
    const auto key = field.key == "target_regex" ? "target_modules" : field.key;
    const bool takes = std::any_of(used.begin(), used.end(),
                                   [&](const FlatKey& each) { return each.job_key == key; });
    if (!takes) unused.push_back(field.key);
  }
  return unused;
}

std::vector<std::string_view> own_keys_like(const TunerSchema& schema, std::string_view job_key) {
  if (job_key == "lora_rank" && schema.name == "adalora")
    return {"adalora_init_r", "adalora_target_r"};
  std::vector<std::string_view> keys;
  for (const auto& shared : kSharedKeys) {
    if (shared.job_key != job_key) continue;
    const TunerOption* option = shared_option(schema, shared);
    for (const auto& own : kOwnKeys) {
      if (option != nullptr && own.tuner == schema.name && own.option == option->key)
        keys.push_back(own.job_key);
    }
  }
  return keys;
}

}  // namespace tunefleet::tuners
