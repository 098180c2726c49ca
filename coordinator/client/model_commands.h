#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace tunefleet::coordinator {

/// `tunefleet models`: base models and tuned ones; `tunefleet models import FILE.gguf`: makes a
/// Hugging Face directory.
int run_models(int argc, char** argv);
/// `tunefleet fleet`: the agents and their slots.
int run_fleet(int argc, char** argv);

/// The tables of both; `now` in Unix seconds.
std::string models_table(const nlohmann::json& models, int64_t now);
std::string fleet_table(const nlohmann::json& agents);

/// "SmolLM2-135M-Instruct" for SmolLM2-135M-Instruct.Q4_1.gguf: the file's name less the ending and
/// the name of a quantisation.
std::string model_name_of(const std::filesystem::path& gguf);

}  // namespace tunefleet::coordinator
