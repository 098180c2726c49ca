#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tunefleet::coordinator {

/// One thing that is wrong with a request.
struct RequestProblem {
  std::string param;  ///< The field, as the client wrote it: "method.type".
  std::string message;
};

/// A request in the job file's terms. What names something (model, files, earlier jobs) is taken
/// over as it is.
struct TranslatedRequest {
  nlohmann::json job =
      nlohmann::json::object();  ///< Keys of the job file, of any kind: its parser checks them.
  nlohmann::json metadata;       ///< Null when there is none.
  std::vector<RequestProblem> problems;
};

/// Turns OpenAI's fields into the job file's keys, and gathers the job file's keys beside them and
/// inside hyperparameters. Pure. The table in coordinator/api/api.md, "Making a job", is what it
/// does.
TranslatedRequest translate_openai_fields(const nlohmann::json& body);

}  // namespace tunefleet::coordinator
