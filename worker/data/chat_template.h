#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/dataset_rows.h"
#include "proto/result.h"

namespace tunefleet::data {

/// A stretch of a rendered conversation.
struct Segment {
  std::string text;
  bool train = false;  ///< The model learns to say this (an answer and the mark that ends it).
  bool special =
      true;  ///< Marks of the template in it are special tokens; false for what people wrote.

  bool operator==(const Segment&) const = default;
};

/// What a model directory says about conversations.
struct TemplateSource {
  std::string chat_template;  ///< The Jinja text of tokenizer_config.json or chat_template.jinja;
                              ///< may be empty.
  std::string eos_token;      ///< May be empty.
  std::string name;           ///< For messages: the directory.

  /// Reads them; a directory without those files gives empty texts. kInvalidArgument: malformed
  /// JSON.
  static Result<TemplateSource> read(const std::filesystem::path& model_directory);
};

/// Writes conversations as a model expects them, one of the known formats:
///   chatml   <|im_start|>role\n…<|im_end|>\n
///   qwen     the same with Qwen's default system prompt, tool calls and tool answers
///   llama3   <|start_header_id|>role<|end_header_id|>\n\n…<|eot_id|>
///   plain    the texts one after another, each answer ended by the end-of-text token
/// A chat template is a program of its author's; it is recognised by its marks and never run.
class ChatTemplate {
 public:
  /// The template `name`, or without a name the one that the source's text is recognised as.
  /// kInvalidArgument: an unknown name, or a text that is none of ours (the way out: --template).
  static Result<ChatTemplate> choose(const std::optional<std::string>& name,
                                     const TemplateSource& source);

  /// The conversation as segments; joined they are what apply_chat_template() gives. Answers are to
  /// be trained unless their `loss` says no. With `add_generation_prompt` the beginning of an
  /// answer follows. kInvalidArgument: a role that the template does not have.
  Result<std::vector<Segment>> render(std::span<const Message> messages,
                                      bool add_generation_prompt) const;

  /// chatml, qwen, llama3 or plain.
  std::string_view name() const;
  /// The token that ends an answer; generation stops at it.
  const std::string& end_of_turn() const { return end_of_turn_; }
  /// Said when a conversation has no system turn; empty: nothing is.
  const std::string& default_system() const { return default_system_; }
  /// Whether the tokenizer's own begin-of-text token stands before the rendered text.
  bool needs_begin_of_text() const { return kind_ == Kind::kPlain; }

 private:
  enum class Kind { kChatml, kQwen, kLlama3, kPlain };

  static Result<Kind> kind_named(const std::string& name);
  static Result<Kind> recognise(const TemplateSource& source);
  Status render_turn(std::span<const Message> messages, size_t index,
                     std::vector<Segment>& segments) const;
  void append_answer(const Message& message, std::string_view text,
                     std::vector<Segment>& segments) const;
  Status render_tool_turn(std::span<const Message> messages, size_t index,
                          std::vector<Segment>& segments) const;
  std::string opening(std::string_view role) const;
  std::string closing() const;
  void render_llama3_start(std::span<const Message> messages, std::vector<Segment>& segments) const;

  Kind kind_ = Kind::kChatml;
  std::string end_of_turn_;
  std::string default_system_;
  bool dated_ = false;  ///< Llama 3.1 and later: the system turn begins with two dates.
};

}  // namespace tunefleet::data
