#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "proto/job_rules.h"
#include "proto/job_spec.h"
#include "proto/result.h"

namespace tunefleet {

/// One thing that is wrong with a job, for the person who wrote it.
struct Problem {
  std::string path;     ///< The key: "lora_rnak", "rank_pattern.q_proj"; empty: the whole text.
  int line = 0;         ///< Line of the text, from 1; 0 when there is none.
  std::string message;  ///< What is wrong and the way out: "unknown key, did you mean lora_rank?".
  std::string source;  ///< Name of the file, "--set", or empty for JSON that came over the network.
};

/// "job.yaml:7: lora_rnak: unknown key, did you mean lora_rank?"; parts that are not known are left
/// out.
std::string to_string(const Problem& problem);

/// What was read, and everything that is wrong with it. `spec` is usable only when `problems` is
/// empty.
struct ParsedJob {
  JobSpec spec;
  std::vector<Problem>
      problems;  ///< In the order of the text; what concerns several keys comes last.
};

/// Reads a job and checks all that can be known without looking at the model, the data or the
/// machine: unknown, renamed, unsupported, duplicate and conflicting keys, types, ranges, allowed
/// values. Numbers may be written as text ("1e-4"), a list of one element without brackets. Never
/// throws. At most 1 MiB of text; YAML anchors and aliases are refused. `check` comes last, and
/// only when all else is fine.
ParsedJob parse_job_yaml(std::string_view text, const std::string& file_name,
                         const JobCheck& check = {});
/// The same for JSON text, with lines.
ParsedJob parse_job_json_text(std::string_view text, const std::string& file_name,
                              const JobCheck& check = {});
/// The same for JSON already read, as the REST API has it (duplicate keys and lines are gone
/// there).
ParsedJob parse_job_json(const nlohmann::json& object, const JobCheck& check = {});

/// Reads a job file: JSON when its name ends in .json, YAML otherwise. `settings` are "key=value"
/// texts, each replacing the file's value of that key; values are written as in YAML.
ParsedJob parse_job_file(const std::filesystem::path& path,
                         const std::vector<std::string>& settings = {}, const JobCheck& check = {});

/// The spec, or kInvalidArgument with every problem on a line of its own.
Result<JobSpec> to_result(const ParsedJob& parsed);
/// parse_job_file and to_result in one.
Result<JobSpec> load_job_file(const std::filesystem::path& path,
                              const std::vector<std::string>& settings = {},
                              const JobCheck& check = {});

}  // namespace tunefleet
