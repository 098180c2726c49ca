#include "worker/data/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "worker/data/template_text.h"

namespace tunefleet::data {
namespace {

constexpr std::array<std::string_view, 4> kNames{"chatml", "qwen", "llama3", "plain"};

constexpr std::string_view kQwenSystem =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

/// The dates Llama 3.1's template has when nobody gives it any.
constexpr std::string_view kLlamaDates =
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";

bool has_system(std::span<const Message> messages) {
  return !messages.empty() && messages.front().role == "system";
}

bool is_tool(std::span<const Message> messages, size_t index) {
  return index < messages.size() && messages[index].role == "tool";
}

}  // namespace

std::string_view ChatTemplate::name() const { return kNames[static_cast<size_t>(kind_)]; }

Result<ChatTemplate::Kind> ChatTemplate::kind_named(const std::string& name) {
  const auto* found = std::ranges::find(kNames, name);
  if (found != kNames.end()) return static_cast<Kind>(found - kNames.begin());
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("unknown template: {}; known: {}", name, fmt::join(kNames, ", ")));
}

Result<ChatTemplate::Kind> ChatTemplate::recognise(const TemplateSource& source) {
  const auto has = [&](std::string_view mark) {
    return source.chat_template.find(mark) != std::string::npos;
  };
  if (has("<|im_start|>") && has("<|im_end|>") && !has("<think>")) {
    return has("Qwen") || has("<tool_response>") ? Kind::kQwen : Kind::kChatml;
  }
  if (has("<|start_header_id|>") && has("<|eot_id|>") && !has("<think>")) return Kind::kLlama3;
  const auto* what = source.chat_template.empty() ? "the model has no chat template"
                                                  : "the model's chat template is not a known one";
  return fail(ErrorCode::kInvalidArgument, fmt::format("{}; choose one with --template ({}): {}",
                                                       what, fmt::join(kNames, ", "), source.name));
}

Result<ChatTemplate> ChatTemplate::choose(const std::optional<std::string>& name,
                                          const TemplateSource& source) {
  const auto kind = name ? kind_named(*name) : recognise(source);
  if (!kind) return fail(kind.error());
  ChatTemplate chosen;
  chosen.kind_ = *kind;
  if (*kind == Kind::kPlain) {
    if (source.eos_token.empty()) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("the template plain needs an eos_token in tokenizer_config.json: {}",
                              source.name));
    }
    chosen.end_of_turn_ = source.eos_token;
  } else if (*kind == Kind::kLlama3) {
    chosen.end_of_turn_ = "<|eot_id|>";
    chosen.dated_ = source.chat_template.find("Cutting Knowledge Date") != std::string::npos;
  } else {
    chosen.end_of_turn_ = "<|im_end|>";
    const auto own = chatml_default_system(source.chat_template);
    const bool has_text = source.chat_template.find("<|im_start|>") != std::string::npos;
    const bool is_bare_qwen = *kind == Kind::kQwen && !has_text;
    chosen.default_system_ = own.value_or(std::string(is_bare_qwen ? kQwenSystem : ""));
  }
  return chosen;
}

std::string ChatTemplate::opening(std::string_view role) const {
  switch (kind_) {
    case Kind::kLlama3:
      return fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n", role);
    case Kind::kPlain:
      return "";
    default:
      return fmt::format("<|im_start|>{}\n", role);
  }
}

/// What follows a turn's text; an answer's own end comes first.
std::string ChatTemplate::closing() const {
  if (kind_ == Kind::kPlain) return "";
  return kind_ == Kind::kLlama3 ? end_of_turn_ : end_of_turn_ + "\n";
}

void ChatTemplate::append_answer(const Message& message, std::string_view text,
                                 std::vector<Segment>& segments) const {
  const bool train = message.loss.value_or(true);
  segments.push_back({std::string(text), train, false});
  segments.push_back({end_of_turn_, train, true});
  const bool line_end = kind_ == Kind::kChatml || kind_ == Kind::kQwen;
  if (line_end) segments.push_back({"\n", false, true});
}

/// Qwen's: answers of tools are the user's turn, neighbours share one; calls are the assistant's.
Status ChatTemplate::render_tool_turn(std::span<const Message> messages, size_t index,
                                      std::vector<Segment>& segments) const {
  const auto& message = messages[index];
  if (kind_ == Kind::kChatml && message.role == "tool") {
    segments.push_back({opening("tool"), false, true});
    segments.push_back({message.content, false, false});
    segments.push_back({closing(), false, true});
    return {};
  }
  if (kind_ != Kind::kQwen) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the template {} has no turns of role {}", name(), message.role));
  }
  if (message.role == "tool_call") {
    segments.push_back({opening("assistant"), false, true});
    append_answer(message, fmt::format("<tool_call>\n{}\n</tool_call>", message.content), segments);
    return {};
  }
  const bool begins = index == 0 || !is_tool(messages, index - 1);
  const bool ends = !is_tool(messages, index + 1);
  segments.push_back(
      {begins ? "<|im_start|>user\n<tool_response>\n" : "\n<tool_response>\n", false, true});
  segments.push_back({message.content, false, false});
  segments.push_back({"\n</tool_response>" + (ends ? closing() : ""), false, true});
  return {};
}

Status ChatTemplate::render_turn(std::span<const Message> messages, size_t index,
                                 std::vector<Segment>& segments) const {
  const auto& message = messages[index];
  if (message.role == "tool" || message.role == "tool_call") {
    return render_tool_turn(messages, index, segments);
  }
  const auto text = kind_ == Kind::kLlama3 ? trim_white_space(message.content)
                                           : std::string_view(message.content);
  if (const auto open = opening(message.role); !open.empty())
    segments.push_back({open, false, true});
  if (message.role == "assistant") {
    append_answer(message, text, segments);
    return {};
  }
  segments.push_back({std::string(text), false, false});
  if (const auto close = closing(); !close.empty()) segments.push_back({close, false, true});
  return {};
}

/// The begin-of-text mark, and in dated templates the system turn whether there is one or not.
void ChatTemplate::render_llama3_start(std::span<const Message> messages,
                                       std::vector<Segment>& segments) const {
  segments.push_back({"<|begin_of_text|>", false, true});
  if (!dated_) return;
  segments.push_back({opening("system") + std::string(kLlamaDates), false, true});
  if (has_system(messages)) {
    segments.push_back({std::string(trim_white_space(messages.front().content)), false, false});
  }
  segments.push_back({closing(), false, true});
}

Result<std::vector<Segment>> ChatTemplate::render(std::span<const Message> messages,
                                                  bool add_generation_prompt) const {
  std::vector<Segment> segments;
  if (kind_ == Kind::kLlama3) render_llama3_start(messages, segments);
  if (!has_system(messages) && !default_system_.empty()) {
    segments.push_back({opening("system") + default_system_ + closing(), false, true});
  }
  const size_t first = dated_ && has_system(messages) ? 1 : 0;
  for (size_t i = first; i < messages.size(); ++i) {
    if (auto status = render_turn(messages, i, segments); !status) return fail(status.error());
  }
  if (add_generation_prompt && kind_ != Kind::kPlain) {
    segments.push_back({opening("assistant"), false, true});
  }
  return segments;
}

}  // namespace tunefleet::data
