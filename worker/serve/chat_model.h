#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/result.h"
#include "proto/serve_lines.h"
#include "worker/data/chat_template.h"
#include "worker/data/tokenizer.h"
#include "worker/models/decoder.h"
#include "worker/serve/adapter_shelf.h"

namespace tunefleet::serve {

struct ChatModelOptions {
  std::filesystem::path model;  ///< Hugging Face directory of the base.
  std::string dtype;            ///< float32 or bfloat16; empty: the model's own.
  std::string device = "auto";  ///< auto, cpu or cuda.
  size_t adapters = 4;          ///< Directories of adapters that stay loaded.
};

/// A base model that goes on with conversations, each with the adapter it names. One thread.
class ChatModel {
 public:
  /// Called with each piece of an answer, whole characters.
  using OnText = std::function<void(const std::string& text)>;

  /// Errors: those of the tokenizer, of a chat template that is not recognised, of load_base.
  static Result<std::unique_ptr<ChatModel>> load(const ChatModelOptions& options);

  /// Tokens of a conversation with its answer at most.
  int64_t context_length() const { return model_->config().max_position_embeddings; }

  /// Answers, until an end token, one of the order's stop texts, its number of tokens, or
  /// `is_cancelled`, which is asked after each token. kResourceExhausted: the conversation leaves
  /// no room for an answer. kInvalidArgument: a role that the template does not have.
  Result<ChatEnd> answer(const ChatOrder& order, const std::function<bool()>& is_cancelled,
                         const OnText& on_text);

 private:
  ChatModel(data::Tokenizer tokenizer, data::ChatTemplate chat,
            std::unique_ptr<models::Decoder> model, size_t adapters);
  Result<std::vector<int32_t>> prompt_ids(const ChatOrder& order) const;
  bool is_end(int32_t token) const;

  const data::Tokenizer tokenizer_;
  const data::ChatTemplate template_;
  const std::optional<int32_t> end_of_turn_;
  std::unique_ptr<models::Decoder> model_;
  AdapterShelf shelf_;
};

}  // namespace tunefleet::serve
