#include "coordinator/api/chat_reply.h"

#include <utility>

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr const char* kRetryAfterS = "2";

json usage_json(const ChatEnd& end) {
  return {{"prompt_tokens", end.prompt_tokens},
          {"completion_tokens", end.completion_tokens},
          {"total_tokens", end.prompt_tokens + end.completion_tokens}};
}

}  // namespace

json ChatReply::head(const char* object) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_}};
}

json ChatReply::completion(const std::string& text, const ChatEnd& end) const {
  json reply = head("chat.completion");
  reply["choices"] =
      json::array({{{"index", 0},
                    {"message", {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}}},
                    {"logprobs", nullptr},
                    {"finish_reason", end.finish_reason}}});
  reply["usage"] = usage_json(end);
  return reply;
}

json ChatReply::chunk(json delta, json finish_reason) const {
  json reply = head("chat.completion.chunk");
  reply["choices"] = json::array({{{"index", 0},
                                   {"delta", std::move(delta)},
                                   {"logprobs", nullptr},
                                   {"finish_reason", std::move(finish_reason)}}});
  if (include_usage_) reply["usage"] = nullptr;
  return reply;
}

json ChatReply::first_chunk() const {
  return chunk({{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}}, nullptr);
}

json ChatReply::text_chunk(const std::string& text) const {
  return chunk({{"content", text}}, nullptr);
}

json ChatReply::end_chunk(const ChatEnd& end) const {
  return chunk(json::object(), end.finish_reason);
}

json ChatReply::usage_chunk(const ChatEnd& end) const {
  json reply = head("chat.completion.chunk");
  reply["choices"] = json::array();
  reply["usage"] = usage_json(end);
  return reply;
}

ApiError chat_error(const ChatFailed& failed) {
  ApiError error = to_api_error({failed.code, failed.message});
  if (failed.code == ErrorCode::kResourceExhausted) {
    error = bad_request(failed.message, "messages");
    error.code = "context_length_exceeded";
  }
  if (error.status == 503) error.headers.emplace_back("Retry-After", kRetryAfterS);
  return error;
}

}  // namespace tunefleet::coordinator
