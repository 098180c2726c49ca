#include "tests/worker/models/tuner_laws.h"

namespace tunefleet::models {
namespace {

using Cases = std::vector<LawCase>;

// On decoders, SOME are a square layer, a wide one and one of other sizes; 4 divides all of them.
#define SOME R"("target_modules": ["q_proj", "v_proj", "down_proj"])"

Cases low_rank_cases() {
  return {
      {.tuner = "adalora", .options = R"({"init_r": 3, "target_r": 2, )" SOME "}"},
      {.tuner = "hira", .options = R"({"r": 2, )" SOME "}", .deviation = 0.3, .reads_base = true},
      {.tuner = "lora", .options = R"({"r": 3, )" SOME "}", .families = true},
      {.tuner = "lora",
       .options =
           R"({"r": 1, "lora_alpha": 2, "target_modules": "all-linear", "use_rslora": true})",
       .label = "rank1"},
      {.tuner = "lora",
       .options =
           R"({"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["norm", "lm_head"]})",
       .label = "saved"},
      // The norm is of the base's weight and takes no gradient; the gradients are PEFT's.
      {.tuner = "lora",
       .options = R"({"r": 3, "use_dora": true, )" SOME "}",
       .label = "dora",
       .reads_base = true,
       .whole_gradient = false},
      {.tuner = "lora",
       .options = R"({"r": 3, "init_lora_weights": "pissa", )" SOME "}",
       .label = "pissa",
       .reads_base = true},
      {.tuner = "lora",
       .options = R"({"r": 3, "init_lora_weights": "olora", "use_dora": true, )" SOME "}",
       .label = "olora_dora",
       .reads_base = true,
       .whole_gradient = false},
      {.tuner = "lora",
       .options = R"({"r": 3, "target_modules": ["all-embedding", "v_proj"]})",
       .label = "embedding"},
      {.tuner = "lora",
       .options = R"({"r": 3, "target_modules": ["q_proj"], "trainable_token_indices":)"
                  R"( [0, 1, 2, 3, 5, 8, 13, 21, 34, 40, 42, 44, 46, 48, 50, 55]})",
       .label = "tokens"},
      {.tuner = "loha", .options = R"({"r": 2, )" SOME "}"},
      {.tuner = "lokr", .options = R"({"r": 2, )" SOME "}"},
      {.tuner = "lokr", .options = R"({"r": 30, )" SOME "}", .label = "full"},
      {.tuner = "randlora", .options = R"({"r": 5, "randlora_alpha": 10, )" SOME "}"},
      {.tuner = "road", .options = R"({"group_size": 4, )" SOME "}"},
      {.tuner = "road",
       .options =
           R"({"group_size": 6, "variant": "road_4", "target_modules": ["q_proj", "v_proj"]})",
       .label = "four",
       .deviation = 0.05},
      {.tuner = "shira", .options = R"({"r": 2, )" SOME "}"},
      {.tuner = "vblora",
       .options = R"({"r": 3, "num_vectors": 8, "vector_length": 4, "init_vector_bank_bound": 0.5,
                      "init_logits_std": 3,
                      )" SOME "}",
       .starts_as_identity = false},
  };
}

Cases multiplicative_cases() {
  return {
      {.tuner = "ia3",
       .options = R"({"feedforward_modules": ["down_proj"], )" SOME "}",
       .families = true},
      {.tuner = "oft", .options = R"({"oft_block_size": 4, )" SOME "}"},
      {.tuner = "oft",
       .options = R"({"oft_block_size": 2, "use_cayley_neumann": false, )" SOME "}",
       .label = "exact"},
      {.tuner = "oft",
       .options =
           R"({"oft_block_size": 0, "r": 3, "block_share": true, "bias": "oft_only", )" SOME "}",
       .label = "shared"},
      {.tuner = "oft",
       .options = R"({"oft_block_size": 4, "module_dropout": 0.4, )" SOME "}",
       .label = "dropout"},
      {.tuner = "boft", .options = R"({"boft_block_size": 4, )" SOME "}"},
      {.tuner = "boft",
       .options = R"({"boft_block_size": 4, "boft_n_butterfly_factor": 2, "boft_dropout": 0.3,
                      "bias": "boft_only", )" SOME "}",
       .label = "butterfly"},
      {.tuner = "hra", .options = R"({"r": 2, )" SOME "}"},
      {.tuner = "hra",
       .options = R"({"r": 3, )" SOME "}",
       .label = "odd",
       .starts_as_identity = false},
      {.tuner = "hra",
       .options = R"({"r": 4, "apply_GS": true, )" SOME "}",
       .label = "orthogonal",
       .starts_as_identity = false},
      {.tuner = "road",
       .options = R"({"variant": "road_2", "group_size": 4, )" SOME "}",
       .label = "two"},
  };
}

Cases spectral_cases() {
  return {
      {.tuner = "fourierft",
       .options = R"({"n_frequency": 20, "scaling": 20.0, )" SOME "}",
       .starts_as_identity = false},
      {.tuner = "vera", .options = R"({"r": 6, )" SOME "}"},
      {.tuner = "waveft", .options = R"({"n_frequency": 30, "scaling": 5.0, )" SOME "}"},
      {.tuner = "waveft",
       .options = R"({"n_frequency": 30, "scaling": 5.0, "wavelet_family": "db3",
                      "proportional_parameters": true, )" SOME "}",
       .label = "db3"},
      {.tuner = "c3a", .options = R"({"block_size": 4, )" SOME "}", .starts_as_identity = false},
      {.tuner = "miss", .options = R"({"r": 4, )" SOME "}"},
      {.tuner = "bone", .options = R"({"r": 4, )" SOME "}"},
      {.tuner = "miss",
       .options = R"({"r": 5, "miss_dropout": 0.2, "target_modules": "all-linear"})",
       .label = "ragged"},
      // Its update is made from the base's weight.
      {.tuner = "miss",
       .options = R"({"r": 4, "init_weights": "bat", )" SOME "}",
       .label = "bat",
       .reads_base = true},
      {.tuner = "miss",
       .options = R"({"r": 4, "mini_r": 2, "init_weights": "mini", )" SOME "}",
       .label = "mini"},
  };
}

Cases whole_parameter_cases() {
  return {
      // A whole copy of every parameter: what else was merged into the base is gone.
      {.tuner = "full", .options = "{}", .reads_base = true},
      {.tuner = "full",
       .options = R"({"lisa_activated_layers": 1})",
       .label = "lisa",
       .reads_base = true},
      {.tuner = "full",
       .options = R"({"freeze_parameters": ["model.embed_tokens", "model.layers.0"]})",
       .label = "part",
       .reads_base = true},
      {.tuner = "ln_tuning", .options = "{}", .families = true},
      {.tuner = "ln_tuning",
       .options = R"({"target_modules": ["q_proj", "norm"], "modules_to_save": ["lm_head"]})",
       .label = "any_module"},
      {.tuner = "trainable_tokens",
       .options = R"({"token_indices": [0, 1, 2, 3, 5, 8, 13, 21, 34, 40, 42, 44, 46, 48, 50, 55],)"
                  R"( "target_modules": ["embed_tokens"]})",
       .target = "embed_tokens"},
      {.tuner = "part",
       .options = R"({"target_modules": "model\\.layers\\.1\\.mlp\\.up_proj"})",
       .reads_base = true,  // a whole copy of the layer: what else was merged into it is gone
       .target = "up_proj"},
      {.tuner = "llamapro", .options = R"({"num_new_blocks": 2})", .families = true},
      {.tuner = "llamapro", .options = R"({"num_new_blocks": 1})", .label = "one"},
  };
}

Cases sequence_cases() {
  return {
      {.tuner = "prompt_tuning",
       .options = R"({"num_virtual_tokens": 3})",
       .families = true,
       .starts_as_identity = false},
      {.tuner = "prefix_tuning",
       .options = R"({"num_virtual_tokens": 3})",
       .families = true,
       .starts_as_identity = false},
      {.tuner = "p_tuning",
       .options = R"({"num_virtual_tokens": 1, "encoder_hidden_size": 6})",
       .starts_as_identity = false,
       .deviation = 0.5},  // away from ReLU's corners
      {.tuner = "p_tuning",
       .options = R"({"num_virtual_tokens": 3, "encoder_hidden_size": 4,)"
                  R"( "encoder_reparameterization_type": "LSTM", "encoder_dropout": 0.3})",
       .label = "lstm",
       .starts_as_identity = false},
      {.tuner = "prefix_tuning",
       .options =
           R"({"num_virtual_tokens": 3, "prefix_projection": true, "encoder_hidden_size": 5})",
       .label = "projection",
       .starts_as_identity = false},
      {.tuner = "neftune", .options = R"({"noise_alpha": 5.0})", .acts_in_evaluation = false},
      {.tuner = "longlora", .options = R"({"r": 2, )" SOME "}", .families = true},
      {.tuner = "adapter",
       .options = R"({"target_modules": ["mlp"], "adapter_length": 5})",
       .families = true,
       .starts_as_identity = false,
       .target = "mlp"},
      {.tuner = "adapter",
       .options = R"({"target_modules": ["q_proj", "model.layers.1"], "act_layer": "silu"})",
       .label = "linear",
       .starts_as_identity = false},
      {.tuner = "reft", .options = R"({"r": 2})", .families = true, .starts_as_identity = false},
      {.tuner = "reft",
       .options = R"({"r": 3, "intervention_type": "NoreftIntervention", "layers": [1],)"
                  R"( "args": {"add_bias": true, "act_fn": "tanh", "dropout": 0.2}})",
       .label = "free",
       .starts_as_identity = false},
      {.tuner = "reft",
       .options = R"({"r": 3, "intervention_type": "ConsreftIntervention"})",
       .label = "constant",
       .starts_as_identity = false},
      {.tuner = "reft",
       .options = R"({"r": 3, "intervention_type": "LobireftIntervention"})",
       .label = "bias",
       .starts_as_identity = false},
      {.tuner = "reft",
       .options = R"({"r": 3, "intervention_type": "DireftIntervention"})",
       .label = "direct",
       .starts_as_identity = false},
      {.tuner = "reft",
       .options = R"({"r": 3, "intervention_type": "NodireftIntervention"})",
       .label = "free_direct",
       .starts_as_identity = false},
  };
}

Cases network_cases() {
  return {
      {.tuner = "lora",
       .options = R"({"r": 2, "target_modules": ["down.1", "mid", "conv_in"]})",
       .label = "conv",
       .network = "skip_net",
       .target = "mid"},
      {.tuner = "lora",
       .options = R"({"r": 3, "use_dora": true, "target_modules": ["mid", "conv_out"]})",
       .label = "conv_dora",
       .network = "skip_net",
       .reads_base = true,
       .whole_gradient = false,
       .target = "mid"},
      {.tuner = "prompt",
       .options = R"({"dim": 8, "target_modules": "blocks\\.\\d+", "prompt_length": 3})",
       .network = "token_net",
       .starts_as_identity = false},
      {.tuner = "side",
       .options = R"({"dim": 8, "target_modules": "body", "side_module_name": "mlp"})",
       .network = "body_net",
       .starts_as_identity = false},
      {.tuner = "side",
       .options = R"({"dim": 7, "target_modules": "features"})",
       .label = "fcn4",
       .network = "picture_net",
       .starts_as_identity = false,
       .slope_error = 3e-2},
      {.tuner = "restuning",
       .options = R"({"dims": 8, "stem_modules": "blocks\\.\\d+", "target_modules": "head",)"
                  R"( "root_modules": "blocks\\.0", "tuner_cfg": "res_adapter"})",
       .network = "stack_net",
       .starts_as_identity = false},
      {.tuner = "restuning",
       .options = R"({"dims": 8, "stem_modules": ["down.2", "down.1", "down.0"],)"
                  R"( "target_modules": "out", "root_modules": "mid",)"
                  R"( "root_modules_hook": "output", "tuner_cfg": "res_adapter",)"
                  R"( "use_upsample": true})",
       .label = "upsample",
       .network = "pyramid_net",
       .starts_as_identity = false,
       .target = "expand"},
      {.tuner = "scetuning",
       .options = R"({"dims": [8, 4], "target_modules": "up\\.\\d+", "down_ratio": 0.5})",
       .network = "skip_net",
       .target = "mid"},
      {.tuner = "scetuning",
       .options = R"({"dims": [4, 8], "target_modules": ["conv_in", "down"],)"
                  R"( "tuner_mode": "encoder"})",
       .label = "encoder",
       .network = "skip_net",
       .target = "conv_in"},
  };
}

#undef SOME

}  // namespace

const std::vector<LawCase>& law_cases() {
  static const Cases cases = [] {
    Cases all;
    for (const auto& group : {low_rank_cases(), multiplicative_cases(), spectral_cases(),
                              whole_parameter_cases(), sequence_cases(), network_cases()}) {
      all.insert(all.end(), group.begin(), group.end());
    }
    return all;
  }();
  return cases;
}

}  // namespace tunefleet::models
