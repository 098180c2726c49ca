#include "proto/dataset_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

namespace tunefleet {
namespace {

using nlohmann::json;
using Names = std::span<const std::string_view>;

constexpr std::array<std::string_view, 3> kMessageColumns{"messages", "conversation",
                                                          "conversations"};
constexpr std::array<std::string_view, 6> kQueryColumns{"query",       "prompt",   "input",
                                                        "instruction", "question", "problem"};
constexpr std::array<std::string_view, 11> kResponseColumns{
    "response", "answer",   "output", "targets",    "target", "answer_key",
    "answers",  "solution", "text",   "completion", "content"};
constexpr std::array<std::string_view, 2> kSystemColumns{"system", "system_prompt"};
constexpr std::array<std::string_view, 7> kUnsupportedColumns{"images", "videos", "audios", "image",
                                                              "video",  "audio",  "tools"};
constexpr std::array<std::string_view, 2> kRoleKeys{"role", "from"};
constexpr std::array<std::string_view, 2> kContentKeys{"content", "value"};
constexpr std::array<std::string_view, 2> kUserNames{"user", "human"};
constexpr std::array<std::string_view, 3> kAssistantNames{"assistant", "gpt", "bot"};
constexpr std::array<std::string_view, 3> kLossKeys{"loss", "weight", "loss_scale"};

struct RoleName {
  std::string_view name;
  std::string_view role;
};
constexpr std::array kRoleNames{
    RoleName{"system", "system"},       RoleName{"user", "user"},
    RoleName{"human", "user"},          RoleName{"assistant", "assistant"},
    RoleName{"gpt", "assistant"},       RoleName{"bot", "assistant"},
    RoleName{"tool", "tool"},           RoleName{"tool_response", "tool"},
    RoleName{"observation", "tool"},    RoleName{"function_response", "tool"},
    RoleName{"tool_call", "tool_call"}, RoleName{"function_call", "tool_call"},
};

tl::unexpected<Error> malformed(std::string reason) {
  return fail(ErrorCode::kInvalidArgument, std::move(reason));
}

/// A row's columns by lower-cased name, nulls left out; points into the row.
class Columns {
 public:
  static Result<Columns> of(const json& row) {
    Columns columns;
    for (const auto& [name, value] : row.items()) {
      if (value.is_null()) continue;
      std::string lower = name;
      std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
      if (!columns.values_.emplace(lower, &value).second) {
        return malformed(fmt::format("two columns of one name: {}", lower));
      }
    }
    return columns;
  }

  const json* find(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? nullptr : found->second;
  }

  /// The one column among `names`, the first name winning over its aliases; null when there is
  /// none.
  Result<const json*> one_of(Names names) const {
    if (const json* own = find(names.front())) return own;
    std::string_view seen;
    for (const auto name : names) {
      if (!find(name)) continue;
      if (!seen.empty()) {
        return malformed(fmt::format("two columns may hold the {}: {}, {}; rename one to '{}'",
                                     names.front(), seen, name, names.front()));
      }
      seen = name;
    }
    return seen.empty() ? nullptr : find(seen);
  }

 private:
  std::map<std::string, const json*, std::less<>> values_;
};

const json* find_key(const json& object, Names names) {
  for (const auto name : names) {
    const auto found = object.find(name);
    if (found != object.end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

/// A text, or OpenAI's list of text parts.
Result<std::string> text_of(const json& value, std::string_view what) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return malformed(fmt::format("{} must be a string", what));
  std::string text;
  for (const auto& part : value) {
    const bool is_text = part.is_object() && part.value("type", json()) == "text" &&
                         part.contains("text") && part["text"].is_string();
    if (!is_text) return malformed(fmt::format("{}: only text parts can be trained on", what));
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

Result<std::string> role_of(const json& value, std::string_view what) {
  if (!value.is_string()) return malformed(fmt::format("{}: role must be a string", what));
  const auto& name = value.get_ref<const std::string&>();
  for (const auto& known : kRoleNames) {
    if (known.name == name) return std::string(known.role);
  }
  return malformed(fmt::format(
      "{}: unknown role '{}'; known: system, user, assistant, tool, tool_call", what, name));
}

bool can_be_trained(const std::string& role) { return role == "assistant" || role == "tool_call"; }

Result<std::optional<bool>> loss_of(const json& message, std::string_view what) {
  const json* value = find_key(message, kLossKeys);
  if (!value) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_number() && *value == 0) return false;
  if (value->is_number() && *value == 1) return true;
  return malformed(fmt::format("{}: loss must be true or false (or 1, 0)", what));
}

Result<Message> message_of(const json& value, std::string_view what) {
  const json* role = find_key(value, kRoleKeys);
  const json* content = find_key(value, kContentKeys);
  if (!role) return malformed(fmt::format("{} has no role", what));
  if (value.contains("tool_calls") && !value["tool_calls"].empty()) {
    return malformed(
        fmt::format("{}: tool_calls are not read; write turns of role tool_call", what));
  }
  if (!content) return malformed(fmt::format("{} has no content", what));
  Message message;
  if (auto name = role_of(*role, what)) {
    message.role = std::move(*name);
  } else {
    return fail(name.error());
  }
  if (auto text = text_of(*content, fmt::format("{}.content", what))) {
    message.content = std::move(*text);
  } else {
    return fail(text.error());
  }
  const auto loss = loss_of(value, what);
  if (!loss) return fail(loss.error());
  message.loss = *loss;
  if (message.loss == true && !can_be_trained(message.role)) {
    return malformed(fmt::format("{}: loss is for assistant turns, not {}", what, message.role));
  }
  return message;
}

/// One {"human": …, "assistant": …} of a conversation in pairs.
Status append_pair(const json& pair, std::string_view what, std::vector<Message>& messages) {
  const json* user = find_key(pair, kUserNames);
  const json* assistant = find_key(pair, kAssistantNames);
  if (!user || !assistant) {
    return malformed(fmt::format("{} has neither role and content nor human and assistant", what));
  }
  auto query = text_of(*user, what);
  if (!query) return fail(query.error());
  auto response = text_of(*assistant, what);
  if (!response) return fail(response.error());
  messages.push_back({"user", std::move(*query), std::nullopt});
  messages.push_back({"assistant", std::move(*response), std::nullopt});
  return {};
}

Status prepend_system(const Columns& columns, std::vector<Message>& messages) {
  const auto column = columns.one_of(kSystemColumns);
  if (!column) return fail(column.error());
  if (!*column) return {};
  auto text = text_of(**column, "system");
  if (!text) return fail(text.error());
  if (text->empty()) return {};
  if (!messages.empty() && messages.front().role == "system") {
    return malformed("two system prompts: the column 'system' and the first message");
  }
  messages.insert(messages.begin(), {"system", std::move(*text), std::nullopt});
  return {};
}

Result<std::vector<Message>> read_conversation(const json& turns) {
  if (!turns.is_array() || turns.empty())
    return malformed("messages must be a list that is not empty");
  std::vector<Message> messages;
  for (size_t i = 0; i < turns.size(); ++i) {
    const auto what = fmt::format("messages[{}]", i);
    if (!turns[i].is_object()) return malformed(fmt::format("{} is not an object", what));
    if (find_key(turns[i], kRoleKeys) || find_key(turns[i], kContentKeys)) {
      auto message = message_of(turns[i], what);
      if (!message) return fail(message.error());
      messages.push_back(std::move(*message));
    } else if (auto pair = append_pair(turns[i], what, messages); !pair) {
      return fail(pair.error());
    }
  }
  return messages;
}

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

Result<std::vector<int32_t>> read_ids(const json& value, std::string_view what, int64_t lowest) {
  if (!value.is_array() || value.empty()) {
    return malformed(fmt::format("{} must be a list of token ids that is not empty", what));
  }
  std::vector<int32_t> ids;
  ids.reserve(value.size());
  for (const auto& id : value) {
    const bool fits = id.is_number_integer() && id <= std::numeric_limits<int32_t>::max() &&
                      (id >= 0 || id == lowest);
    if (!fits) return malformed(fmt::format("not a token id in {}: {}", what, id.dump()));
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Result<DatasetRow> read_pretokenised(const Columns& columns) {
  DatasetRow row;
  row.form = DatasetForm::kPretokenised;
  auto ids = read_ids(*columns.find("input_ids"), "input_ids", 0);
  if (!ids) return fail(ids.error());
  row.input_ids = std::move(*ids);
  row.labels = row.input_ids;
  if (const json* labels = columns.find("labels")) {
    auto given = read_ids(*labels, "labels", kIgnoreLabel);
    if (!given) return fail(given.error());
    row.labels = std::move(*given);
  }
  if (row.labels.size() != row.input_ids.size()) {
    return malformed(fmt::format("labels and input_ids differ in length: {}, {}", row.labels.size(),
                                 row.input_ids.size()));
  }
  // The first label is never predicted: there is nothing before it.
  const auto learnt = [](int32_t label) { return label != kIgnoreLabel; };
  if (std::none_of(row.labels.begin() + 1, row.labels.end(), learnt)) {
    return malformed("no label to learn: all after the first are -100");
  }
  return row;
}

Status check_conversation(const std::vector<Message>& messages) {
  for (const auto& message : messages) {
    if (can_be_trained(message.role) && message.loss != false) return {};
  }
  return malformed("no assistant turn to learn from");
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
  if (columns->find("input_ids")) return read_pretokenised(*columns);
  const auto turns = columns->one_of(kMessageColumns);
  if (!turns) return fail(turns.error());
  if (*turns) {
    auto messages = read_conversation(**turns);
    if (!messages) return fail(messages.error());
    return finish_conversation(DatasetForm::kMessages, *columns, std::move(*messages));
  }
  const bool alpaca = columns->find("instruction") && columns->find("input");
  return read_query_response(alpaca ? DatasetForm::kAlpaca : DatasetForm::kQueryResponse, *columns);
}

}  // namespace tunefleet
