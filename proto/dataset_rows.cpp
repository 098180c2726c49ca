#include "proto/dataset_rows.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "proto/row_columns.h"

namespace tunefleet {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 3> kMessageColumns{"messages", "conversation",
                                                          "conversations"};
constexpr std::array<std::string_view, 6> kQueryColumns{"query",       "prompt",   "input",
                                                        "instruction", "question", "problem"};
constexpr std::array<std::string_view, 11> kResponseColumns{
    "response", "answer",   "output", "targets",    "target", "answer_key",
    "answers",  "solution", "text",   "completion", "content"};
constexpr std::array<std::string_view, 7> kUnsupportedColumns{"images", "videos", "audios", "image",
                                                              "video",  "audio",  "tools"};

/// The turns before the query: [["question", "answer"], …].
Result<std::vector<Message>> read_history(const Columns& columns) {
  std::vector<Message> messages;
  const json* history = columns.find("history");
  if (!history) return messages;
  if (!history->is_array()) return malformed("history must be a list of [query, response]");
  for (const auto& pair : *history) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      return malformed("history must be a list of [query, response]");
    }
    messages.push_back({"user", pair[0].get<std::string>(), std::nullopt});
    messages.push_back({"assistant", pair[1].get<std::string>(), std::nullopt});
  }
  return messages;
}

/// instruction and input, each on its line; either may be empty.
Result<std::optional<std::string>> alpaca_query(const Columns& columns) {
  auto instruction = text_of(*columns.find("instruction"), "instruction");
  if (!instruction) return fail(instruction.error());
  auto input = text_of(*columns.find("input"), "input");
  if (!input) return fail(input.error());
  const bool both = !instruction->empty() && !input->empty();
  return *instruction + (both ? "\n" : "") + *input;
}

Result<std::optional<std::string>> plain_query(const Columns& columns) {
  const auto column = columns.one_of(kQueryColumns);
  if (!column) return fail(column.error());
  if (!*column) return std::nullopt;
  auto text = text_of(**column, "query");
  if (!text) return fail(text.error());
  return std::move(*text);
}

/// The answer; of a list of answers the first.
Result<std::string> read_response(const Columns& columns) {
  const auto column = columns.one_of(kResponseColumns);
  if (!column) return fail(column.error());
  if (!*column) {
    return malformed(
        "no column to learn from; known: messages, response (or answer, output, text, …), "
        "input_ids");
  }
  const json* value = *column;
  if (value->is_array() && !value->empty() && value->front().is_string()) value = &value->front();
  if (!value->is_string()) return malformed("response must be a string");
  return value->get<std::string>();
}

Result<DatasetRow> read_pretokenised(const Columns& columns) {
  auto tokens = read_tokens(columns, "input_ids", "labels");
  if (!tokens) return fail(tokens.error());
  DatasetRow row;
  row.form = DatasetForm::kPretokenised;
  row.input_ids = std::move(tokens->input_ids);
  row.labels = std::move(tokens->labels);
  return row;
}

Result<DatasetRow> finish_conversation(DatasetForm form, const Columns& columns,
                                       std::vector<Message> messages) {
  if (auto status = prepend_system(columns, messages); !status) return fail(status.error());
  if (auto status = check_conversation(messages); !status) return fail(status.error());
  DatasetRow row;
  row.form = form;
  row.messages = std::move(messages);
  return row;
}

Result<DatasetRow> read_query_response(DatasetForm form, const Columns& columns) {
  auto messages = read_history(columns);
  if (!messages) return fail(messages.error());
  auto query = form == DatasetForm::kAlpaca ? alpaca_query(columns) : plain_query(columns);
  if (!query) return fail(query.error());
  auto response = read_response(columns);
  if (!response) return fail(response.error());
  if (*query) messages->push_back({"user", std::move(**query), std::nullopt});
  messages->push_back({"assistant", std::move(*response), std::nullopt});
  return finish_conversation(form, columns, std::move(*messages));
}

Result<json> parse_json(std::string_view text) {
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: syntax error …; last read:
    // '…'"
    std::string_view reason = error.what();
    if (const auto end = reason.find("] "); end != std::string_view::npos)
      reason.remove_prefix(end + 2);
    reason = reason.substr(0, reason.find("; last read"));
    if (reason.starts_with("parse error at line 1, ")) reason.remove_prefix(23);
    return malformed(fmt::format("not JSON: {}", reason.substr(0, 160)));
  }
}

/// The row without what it rejects, in whatever form it has.
Result<DatasetRow> read_supervised(const Columns& columns) {
  if (columns.find("input_ids")) return read_pretokenised(columns);
  const auto turns = columns.one_of(kMessageColumns);
  if (!turns) return fail(turns.error());
  if (*turns) {
    auto messages = read_conversation(**turns, "messages");
    if (!messages) return fail(messages.error());
    return finish_conversation(DatasetForm::kMessages, columns, std::move(*messages));
  }
  const bool alpaca = columns.find("instruction") && columns.find("input");
  return read_query_response(alpaca ? DatasetForm::kAlpaca : DatasetForm::kQueryResponse, columns);
}

}  // namespace

std::string_view dataset_form_name(DatasetForm form) {
  switch (form) {
    case DatasetForm::kMessages:
      return "messages";
    case DatasetForm::kAlpaca:
      return "alpaca";
    case DatasetForm::kQueryResponse:
      return "query_response";
    case DatasetForm::kPretokenised:
      return "pretokenised";
    case DatasetForm::kPreferredOutput:
      return "preferred_output";
  }
  return "messages";
}

Result<DatasetRow> parse_dataset_row(std::string_view json_text) {
  const auto row = parse_json(json_text);
  if (!row) return fail(row.error());
  if (!row->is_object()) return malformed("a row must be a JSON object");
  const auto columns = Columns::of(*row);
  if (!columns) return fail(columns.error());
  for (const auto name : kUnsupportedColumns) {
    const json* value = columns->find(name);
    if (value && !value->empty())
      return malformed(fmt::format("only text is trained on; remove the column {}", name));
  }
  if (has_preferred_output(*columns)) return read_preferred_output(*columns);
  auto read = read_supervised(*columns);
  if (!read) return read;
  if (auto status = read_rejected(*columns, *read); !status) return fail(status.error());
  return read;
}

}  // namespace tunefleet
