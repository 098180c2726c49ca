#include "proto/serve_lines.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace tunefleet {
namespace {

using nlohmann::json;

json messages_json(const std::vector<Message>& messages) {
  json list = json::array();
  for (const auto& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  return list;
}

std::vector<Message> messages_of(const json& list) {
  std::vector<Message> messages;
  for (const auto& item : list) {
    messages.push_back({.role = item.at("role").get<std::string>(),
                        .content = item.at("content").get<std::string>(),
                        .loss = {}});
  }
  return messages;
}

json body_of(const ChatOrder& order) {
  return {{"ask",
           {{"id", order.id},
            {"adapter", order.adapter},
            {"messages", messages_json(order.messages)},
            {"max_tokens", order.max_tokens},
            {"temperature", order.temperature},
            {"top_p", order.top_p},
            {"top_k", order.top_k},
            {"seed", order.seed},
            {"stop", order.stop}}}};
}

json body_of(const ChatCancel& cancel) { return {{"cancel", {{"id", cancel.id}}}}; }

json body_of(const ServerReady& ready) {
  return {{"ready", {{"context_length", ready.context_length}}}};
}

json body_of(const ChatText& text) { return {{"text", {{"id", text.id}, {"text", text.text}}}}; }

json body_of(const ChatEnd& end) {
  return {{"end",
           {{"id", end.id},
            {"finish_reason", end.finish_reason},
            {"prompt_tokens", end.prompt_tokens},
            {"completion_tokens", end.completion_tokens}}}};
}

json body_of(const ChatFailed& failed) {
  return {
      {"failed",
       {{"id", failed.id}, {"code", error_code_name(failed.code)}, {"message", failed.message}}}};
}

template <typename Variant>
std::string line_of(const Variant& value) {
  const json body = std::visit([](const auto& each) { return body_of(each); }, value);
  return body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

ChatOrder order_of(const json& ask) {
  return {.id = ask.at("id").get<int64_t>(),
          .adapter = ask.at("adapter").get<std::string>(),
          .messages = messages_of(ask.at("messages")),
          .max_tokens = ask.at("max_tokens").get<int64_t>(),
          .temperature = ask.at("temperature").get<double>(),
          .top_p = ask.at("top_p").get<double>(),
          .top_k = ask.at("top_k").get<int64_t>(),
          .seed = ask.at("seed").get<uint64_t>(),
          .stop = ask.at("stop").get<std::vector<std::string>>()};
}

ServeReply reply_of(const std::string& kind, const json& body) {
  if (kind == "ready") return ServerReady{body.at("context_length").get<int64_t>()};
  const auto id = body.at("id").get<int64_t>();
  if (kind == "text") return ChatText{id, body.at("text").get<std::string>()};
  if (kind == "end") {
    return ChatEnd{.id = id,
                   .finish_reason = body.at("finish_reason").get<std::string>(),
                   .prompt_tokens = body.at("prompt_tokens").get<int64_t>(),
                   .completion_tokens = body.at("completion_tokens").get<int64_t>()};
  }
  if (kind != "failed") throw json::other_error::create(501, "unknown kind " + kind, &body);
  return ChatFailed{.id = id,
                    .code = error_code_from_name(body.at("code").get<std::string>()),
                    .message = body.at("message").get<std::string>()};
}

/// Hands `read` the one key of the line's object, and what stands behind it.
template <typename Value, typename Read>
Result<Value> parse(std::string_view line, const Read& read) {
  try {
    const json object = json::parse(line);
    if (object.is_object() && object.size() == 1) {
      return read(object.begin().key(), object.begin().value());
    }
    return fail(ErrorCode::kInvalidArgument, "not an object with one key");
  } catch (const json::exception& error) {
    return fail(ErrorCode::kInvalidArgument, error.what());
  }
}

}  // namespace

std::string to_line(const ServeOrder& order) { return line_of(order); }

std::string to_line(const ServeReply& reply) { return line_of(reply); }

Result<ServeOrder> parse_serve_order(std::string_view line) {
  return parse<ServeOrder>(line, [](const std::string& kind, const json& body) -> ServeOrder {
    if (kind == "ask") return order_of(body);
    if (kind == "cancel") return ChatCancel{body.at("id").get<int64_t>()};
    throw json::other_error::create(501, "unknown kind " + kind, &body);
  });
}

Result<ServeReply> parse_serve_reply(std::string_view line) {
  return parse<ServeReply>(line, reply_of);
}

}  // namespace tunefleet
