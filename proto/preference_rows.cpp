// Rows with a chosen and a rejected answer: OpenAI's, and ms-swift's columns beside any other form.

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

#include "proto/row_columns.h"

namespace tunefleet {
namespace {

using nlohmann::json;
using Messages = std::vector<Message>;

constexpr std::string_view kPreferred = "preferred_output";
constexpr std::string_view kOther = "non_preferred_output";

/// The index behind the last turn of one of these roles.
size_t behind_last(const Messages& messages, std::initializer_list<std::string_view> roles) {
  const auto last = std::find_if(messages.rbegin(), messages.rend(), [&](const Message& message) {
    return std::find(roles.begin(), roles.end(), message.role) != roles.end();
  });
  return static_cast<size_t>(messages.rend() - last);
}

/// Where the answer of the last round begins.
size_t answer_begin(const Messages& messages) { return behind_last(messages, {"user"}); }

/// Before `begin` only what the row itself marks is learnt.
void learn_from(size_t begin, Messages& messages) {
  for (size_t i = 0; i < begin; ++i) {
    if (can_be_trained(messages[i].role) && !messages[i].loss) messages[i].loss = false;
  }
}

/// `what` are the columns that the answers are from.
Status check_pair(const DatasetRow& row, std::string_view what) {
  for (const auto* messages : {&row.messages, &row.rejected_messages}) {
    if (auto status = check_conversation(*messages); !status)
      return malformed(fmt::format("{}: {}", what, status.error().message));
  }
  if (row.messages == row.rejected_messages)
    return malformed(fmt::format("the chosen and the rejected answer are the same: {}", what));
  return {};
}

/// The prompt of a row of OpenAI's.
Result<Messages> read_prompt(const Columns& columns) {
  const json* input = columns.find("input");
  if (!input || !input->is_object() || !input->contains("messages"))
    return malformed("input must be an object with messages, beside preferred_output");
  if (const auto tools = input->find("tools"); tools != input->end() && !tools->empty())
    return malformed("only text is trained on; remove input.tools");
  return read_conversation((*input)["messages"], "input.messages");
}

/// The prompt with one of its answers.
Result<Messages> with_answer(const Messages& prompt, const Columns& columns,
                             std::string_view name) {
  const json* turns = columns.find(name);
  if (!turns) return malformed(fmt::format("a preference has no {}", name));
  const auto answer = read_conversation(*turns, name);
  if (!answer) return fail(answer.error());
  const auto asks = [](const Message& message) {
    return message.role == "user" || message.role == "system";
  };
  if (std::any_of(answer->begin(), answer->end(), asks))
    return malformed(fmt::format("{} must hold turns of the assistant alone", name));
  Messages messages = prompt;
  messages.insert(messages.end(), answer->begin(), answer->end());
  return messages;
}

/// A text in the place of what the assistant says last, or turns in the place of the whole last
/// answer.
Result<Messages> with_response(const Messages& messages, const json& response) {
  Messages rejected = messages;
  if (response.is_string()) {
    rejected.resize(behind_last(messages, {"user", "tool"}));
    if (rejected.size() == messages.size()) {
      return malformed(
          fmt::format("rejected_response takes the place of an assistant turn at the "
                      "end, there is one of {}",
                      messages.back().role));
    }
    rejected.push_back({"assistant", response.get<std::string>(), std::nullopt});
    return rejected;
  }
  const auto answer = read_conversation(response, "rejected_response");
  if (!answer) return fail(answer.error());
  rejected.resize(answer_begin(messages));
  rejected.insert(rejected.end(), answer->begin(), answer->end());
  return rejected;
}

Status read_rejected_conversation(const Columns& columns, DatasetRow& row) {
  const json* response = columns.find("rejected_response");
  const json* turns = columns.find("rejected_messages");
  if (!response && !turns) return {};
  if (response && turns)
    return malformed("two columns hold what is rejected: rejected_response, rejected_messages");
  auto rejected = response ? with_response(row.messages, *response)
                           : read_conversation(*turns, "rejected_messages");
  if (!rejected) return fail(rejected.error());
  row.rejected_messages = *std::move(rejected);
  if (turns) {
    if (auto status = prepend_system(columns, row.rejected_messages); !status) return status;
  }
  learn_from(answer_begin(row.messages), row.messages);
  learn_from(answer_begin(row.rejected_messages), row.rejected_messages);
  return check_pair(row, response ? "rejected_response" : "rejected_messages");
}

Status read_rejected_tokens(const Columns& columns, DatasetRow& row) {
  if (!columns.find("rejected_input_ids")) return {};
  auto tokens = read_tokens(columns, "rejected_input_ids", "rejected_labels");
  if (!tokens) return fail(tokens.error());
  row.rejected_input_ids = std::move(tokens->input_ids);
  row.rejected_labels = std::move(tokens->labels);
  if (row.rejected_input_ids == row.input_ids && row.rejected_labels == row.labels)
    return malformed("the chosen and the rejected answer are the same: rejected_input_ids");
  return {};
}

}  // namespace

bool has_preferred_output(const Columns& columns) {
  return columns.find(kPreferred) || columns.find(kOther);
}

Result<DatasetRow> read_preferred_output(const Columns& columns) {
  const auto prompt = read_prompt(columns);
  if (!prompt) return fail(prompt.error());
  auto chosen = with_answer(*prompt, columns, kPreferred);
  if (!chosen) return fail(chosen.error());
  auto rejected = with_answer(*prompt, columns, kOther);
  if (!rejected) return fail(rejected.error());
  DatasetRow row;
  row.form = DatasetForm::kPreferredOutput;
  row.messages = *std::move(chosen);
  row.rejected_messages = *std::move(rejected);
  learn_from(prompt->size(), row.messages);
  learn_from(prompt->size(), row.rejected_messages);
  if (auto status = check_pair(row, kOther); !status) return fail(status.error());
  return row;
}

Status read_rejected(const Columns& columns, DatasetRow& row) {
  return row.form == DatasetForm::kPretokenised ? read_rejected_tokens(columns, row)
                                                : read_rejected_conversation(columns, row);
}

}  // namespace tunefleet
