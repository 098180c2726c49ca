#include "worker/serve/chat_model.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <utility>

#include "worker/data/encode.h"
#include "worker/models/generation.h"
#include "worker/serve/stop_text.h"
#include "worker/trainer/model_setup.h"

namespace tunefleet::serve {

Result<std::unique_ptr<ChatModel>> ChatModel::load(const ChatModelOptions& options) {
  auto tokenizer = data::Tokenizer::load(options.model);
  if (!tokenizer) return fail(tokenizer.error());
  const auto source = data::TemplateSource::read(options.model);
  if (!source) return fail(source.error());
  auto chat = data::ChatTemplate::choose(std::nullopt, *source);
  if (!chat) {
    return fail("choosing a chat template of " + options.model.string(), chat.error());
  }
  auto model = trainer::load_base(options.model, options.dtype, options.device, 0);
  if (!model) return fail(model.error());
  return std::unique_ptr<ChatModel>(
      new ChatModel(*std::move(tokenizer), *std::move(chat), *std::move(model), options.adapters));
}

ChatModel::ChatModel(data::Tokenizer tokenizer, data::ChatTemplate chat,
                     std::unique_ptr<models::Decoder> model, size_t adapters)
    : tokenizer_(std::move(tokenizer)),
      template_(std::move(chat)),
      end_of_turn_(tokenizer_.token_id(template_.end_of_turn())),
      model_(std::move(model)),
      shelf_(*model_, adapters) {}

Result<std::vector<int32_t>> ChatModel::prompt_ids(const ChatOrder& order) const {
  const data::RowEncoder encoder(tokenizer_, template_, {});
  auto sample = encoder.encode_conversation(order.messages, /*add_generation_prompt=*/true);
  if (!sample) return fail(sample.error());
  const auto length = static_cast<int64_t>(sample->input_ids.size());
  if (length == 0) return fail(ErrorCode::kInvalidArgument, "the conversation is empty");
  if (length >= context_length()) {
    return fail(ErrorCode::kResourceExhausted,
                c10::str("the conversation leaves no room for an answer, shorten it: ", length,
                         " tokens of a context of ", context_length()));
  }
  return std::move(sample->input_ids);
}

bool ChatModel::is_end(int32_t token) const {
  const auto& ends = model_->config().eos_token_ids;
  return token == end_of_turn_ || std::find(ends.begin(), ends.end(), token) != ends.end();
}

Result<ChatEnd> ChatModel::answer(const ChatOrder& order, const std::function<bool()>& is_cancelled,
                                  const OnText& on_text) {
  const auto prompt = prompt_ids(order);
  if (!prompt) return fail(prompt.error());
  if (auto status = shelf_.use(order.adapter); !status) return fail(status.error());
  const auto prompt_tokens = static_cast<int64_t>(prompt->size());
  data::StreamDecoder decoder(tokenizer_);
  StopText stop(order.stop);
  const auto show = [&](const std::string& text) {
    if (!text.empty()) on_text(text);
  };
  std::string reason = "length";
  const auto on_token = [&](int32_t token) {
    if (is_end(token)) {
      reason = "stop";
      return false;
    }
    show(stop.push(decoder.push(token)));
    if (stop.found()) reason = "stop";
    if (!stop.found() && is_cancelled()) reason = "cancelled";
    return reason == "length";
  };
  const auto tokens = models::generate(
      *model_, *prompt,
      {.max_new_tokens = std::min(order.max_tokens, context_length() - prompt_tokens),
       .temperature = order.temperature,
       .top_p = order.top_p,
       .top_k = order.top_k,
       .seed = order.seed},
      on_token);
  show(stop.push(decoder.finish()));
  show(stop.finish());
  return ChatEnd{.id = order.id,
                 .finish_reason = reason,
                 .prompt_tokens = prompt_tokens,
                 .completion_tokens = static_cast<int64_t>(tokens.size())};
}

}  // namespace tunefleet::serve
