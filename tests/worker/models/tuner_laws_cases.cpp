#include "tests/worker/models/tuner_laws.h"

namespace tunefleet::models {

// Targets: q_proj is square, v_proj wide and down_proj too but of other sizes; 4 divides all of
// them.
const std::vector<LawCase>& law_cases() {
  static const std::vector<LawCase> cases{
      {.tuner = "adalora",
       .options = R"({"init_r": 3, "target_r": 2, "target_modules": ["q_proj", "v_proj", "down_proj"]})"},
      {.tuner = "hira",
       .options = R"({"r": 2, "target_modules": ["q_proj", "v_proj", "down_proj"]})",
       .deviation = 0.3,
       .reads_base = true},
      {.tuner = "ia3",
       .options = R"({"target_modules": ["q_proj", "v_proj", "down_proj"]})"},
      {.tuner = "loha",
       .options = R"({"r": 2, "target_modules": ["q_proj", "v_proj", "down_proj"]})"},
      {.tuner = "loha",
       .options = R"({"r": 5, "alpha": 3, "target_modules": ["q_proj", "down_proj"]})",
       .label = "dense"},
      {.tuner = "lokr",
       .options = R"({"r": 2, "target_modules": ["q_proj", "v_proj", "down_proj"]})"},
      {.tuner = "lokr",
       .options = R"({"r": 1, "decompose_both": true, "decompose_factor": 4,
                      "target_modules": ["q_proj", "down_proj"]})",
       .label = "both"},
      {.tuner = "lora",
       .options = R"({"r": 3, "target_modules": ["q_proj", "v_proj", "down_proj"]})"},
      {.tuner = "lora",
       .options =
           R"({"r": 1, "lora_alpha": 2, "target_modules": "all-linear", "use_rslora": true})",
       .label = "rank1"},
      {.tuner = "lora",
       .options =
           R"({"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["norm", "lm_head"]})",
       .label = "saved"},
      {.tuner = "randlora",
       .options = R"({"r": 5, "randlora_alpha": 10, "target_modules": ["q_proj", "v_proj", "down_proj"]})"},
      {.tuner = "road",
       .options = R"({"group_size": 4, "target_modules": ["q_proj", "v_proj", "down_proj"]})"},
      {.tuner = "road",
       .options = R"({"group_size": 6, "variant": "road_4", "target_modules": ["q_proj", "v_proj"]})",
       .label = "four",
       .deviation = 0.05},
      {.tuner = "shira",
       .options = R"({"r": 2, "target_modules": ["q_proj", "v_proj", "down_proj"]})"},
      {.tuner = "vblora",
       .options = R"({"r": 3, "num_vectors": 8, "vector_length": 4, "init_vector_bank_bound": 0.5,
                      "init_logits_std": 3,
                      "target_modules": ["q_proj", "v_proj", "down_proj"]})",
       .starts_as_identity = false},
      {.tuner = "vera",
       .options = R"({"r": 6, "target_modules": ["q_proj", "v_proj", "down_proj"]})"},
  };
  return cases;
}

}  // namespace tunefleet::models
