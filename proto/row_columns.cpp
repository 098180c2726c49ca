#include "proto/row_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <utility>

namespace tunefleet {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 2> kSystemColumns{"system", "system_prompt"};
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

const json* find_key(const json& object, ColumnNames names) {
  for (const auto name : names) {
    const auto found = object.find(name);
    if (found != object.end() && !found->is_null()) return &*found;
  }
  return nullptr;
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

}  // namespace

tl::unexpected<Error> malformed(std::string reason) {
  return fail(ErrorCode::kInvalidArgument, std::move(reason));
}

Result<Columns> Columns::of(const json& row) {
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

const json* Columns::find(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : found->second;
}

Result<const json*> Columns::one_of(ColumnNames names) const {
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

bool can_be_trained(const std::string& role) { return role == "assistant" || role == "tool_call"; }

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

Result<std::vector<Message>> read_conversation(const json& turns, std::string_view name) {
  if (!turns.is_array() || turns.empty())
    return malformed(fmt::format("{} must be a list of turns that is not empty", name));
  std::vector<Message> messages;
  for (size_t i = 0; i < turns.size(); ++i) {
    const auto what = fmt::format("{}[{}]", name, i);
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

Status check_conversation(const std::vector<Message>& messages) {
  for (const auto& message : messages) {
    if (can_be_trained(message.role) && message.loss != false) return {};
  }
  return malformed("no assistant turn to learn from");
}

Result<TokenColumns> read_tokens(const Columns& columns, std::string_view ids,
                                 std::string_view labels) {
  TokenColumns tokens;
  auto read = read_ids(*columns.find(ids), ids, 0);
  if (!read) return fail(read.error());
  tokens.input_ids = std::move(*read);
  tokens.labels = tokens.input_ids;
  if (const json* given = columns.find(labels)) {
    read = read_ids(*given, labels, kIgnoreLabel);
    if (!read) return fail(read.error());
    tokens.labels = std::move(*read);
  }
  if (tokens.labels.size() != tokens.input_ids.size()) {
    return malformed(fmt::format("{} and {} differ in length: {}, {}", labels, ids,
                                 tokens.labels.size(), tokens.input_ids.size()));
  }
  // The first label is never predicted: there is nothing before it.
  const auto learnt = [](int32_t label) { return label != kIgnoreLabel; };
  if (std::none_of(tokens.labels.begin() + 1, tokens.labels.end(), learnt))
    return malformed(fmt::format("no label to learn in {}: all after the first are -100", labels));
  return tokens;
}

}  // namespace tunefleet
