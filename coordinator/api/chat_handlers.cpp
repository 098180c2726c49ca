#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/chat_reply.h"
#include "coordinator/api/chat_request.h"
#include "coordinator/api/ids.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/tuned_model.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{200};     // Between two looks at whether the client is still there.
constexpr milliseconds kPing{10'000};  // Silence after which a comment keeps the connection alive.
constexpr int kClientGone = 499;       // nginx's; for the audit log, since nobody reads the reply.

using Answer = std::shared_ptr<Conversation>;

/// What a model's name stands for on disk.
struct NamedModel {
  std::filesystem::path base;
  std::string adapter;  ///< Empty: the base alone.
};

/// A base model of the models directory, or a tuned one that the caller may use.
ApiResult<NamedModel> find_model(const ApiContext& context, const std::string& owner,
                                 const std::string& name) {
  std::string base = name;
  std::string adapter;
  if (name.starts_with("ft:") || name.starts_with("ftjob-")) {
    const auto tuned =
        find_tuned_model(context.jobs, context.model_access, context.jobs_directory, owner, name);
    if (!tuned) return api_fail(unknown_model(tuned.error()));
    base = tuned->base;
    adapter = tuned->checkpoint.string();
  }
  const auto model = context.models.find(base);
  if (!model) return api_fail(unknown_model(model.error()));
  return NamedModel{.base = model->path, .adapter = std::move(adapter)};
}

ApiError refused(const Error& error) {
  ApiError api = chat_error({.id = 0, .code = error.code, .message = error.message});
  if (error.code != ErrorCode::kResourceExhausted) return api;
  api.status = 429;
  api.type = "requests";
  api.param = std::nullopt;
  api.code = "rate_limit_exceeded";
  api.headers = {{"Retry-After", "2"}};
  return api;
}

ApiError client_gone() {
  ApiError error = bad_request("the client has gone before the answer came");
  error.status = kClientGone;
  return error;
}

/// The next reply; nothing when the client has gone meanwhile.
std::optional<ServeReply> next_reply(Conversation& answer, const std::function<bool()>& is_open) {
  while (is_open()) {
    if (auto reply = answer.next(kLook)) return reply;
  }
  return std::nullopt;
}

/// Waits for the whole answer.
ApiReply whole_answer(const HttpRequest& request, const ChatReply& shapes, Conversation& answer) {
  std::string text;
  for (;;) {
    const auto reply = next_reply(answer, request.is_open);
    if (!reply) return api_fail(client_gone());
    if (const auto* failed = std::get_if<ChatFailed>(&*reply)) {
      return api_fail(chat_error(*failed));
    }
    if (const auto* piece = std::get_if<ChatText>(&*reply)) text += piece->text;
    if (const auto* end = std::get_if<ChatEnd>(&*reply)) {
      return json_reply(shapes.completion(text, *end));
    }
  }
}

/// Sends an answer as it comes, as server-sent events.
class Streamer {
 public:
  Streamer(const ReplySink& sink, const ChatReply& shapes, bool include_usage)
      : sink_(sink), shapes_(shapes), include_usage_(include_usage) {}

  /// `first` is the first reply, which has been fetched already.
  void run(ServeReply first, Conversation& answer) {
    send(shapes_.first_chunk());
    std::optional<ServeReply> reply = std::move(first);
    while (sink_.is_open()) {
      if (reply && !take(*reply)) return;
      reply = answer.next(kLook);
      if (!reply && Clock::now() - wrote_ > kPing) write(": ping\n\n");
    }
  }

 private:
  /// False when nothing follows.
  bool take(const ServeReply& reply) {
    if (const auto* failed = std::get_if<ChatFailed>(&reply)) {
      write(fmt::format("data: {}\n\n", error_reply(chat_error(*failed)).body));
      return false;
    }
    if (const auto* end = std::get_if<ChatEnd>(&reply)) {
      send(shapes_.end_chunk(*end));
      if (include_usage_) send(shapes_.usage_chunk(*end));
      write("data: [DONE]\n\n");
      return false;
    }
    if (const auto* piece = std::get_if<ChatText>(&reply)) send(shapes_.text_chunk(piece->text));
    return true;
  }

  void send(const json& chunk) { write(fmt::format("data: {}\n\n", to_text(chunk))); }

  void write(std::string_view text) {
    wrote_ = Clock::now();
    sink_.write(text);
  }

  const ReplySink& sink_;
  const ChatReply& shapes_;
  const bool include_usage_;
  Clock::time_point wrote_ = Clock::now();
};

/// Waits for the first piece: what fails before it has a status of its own.
ApiReply streamed_answer(const HttpRequest& request, const ChatReply& shapes, bool include_usage,
                         Answer answer) {
  const auto first = next_reply(*answer, request.is_open);
  if (!first) return api_fail(client_gone());
  if (const auto* failed = std::get_if<ChatFailed>(&*first)) return api_fail(chat_error(*failed));
  HttpReply reply;
  reply.content_type = "text/event-stream";
  reply.headers.emplace_back("Cache-Control", "no-store");
  reply.stream = [shapes, include_usage, first = *first,
                  answer = std::move(answer)](const ReplySink& sink) {
    Streamer(sink, shapes, include_usage).run(first, *answer);
  };
  return reply;
}

ApiReply complete_chat(const ApiContext& context, HttpRequest& request) {
  const auto body = read_json_object(request);
  if (!body) return api_fail(body.error());
  auto fields = read_chat_request(*body);
  if (!fields) return api_fail(fields.error());
  auto model = find_model(context, request.owner, fields->model);
  if (!model) return api_fail(model.error());
  fields->order.adapter = std::move(model->adapter);
  const auto answer = context.serving.ask(
      {.owner = request.owner, .base = std::move(model->base), .order = std::move(fields->order)});
  if (!answer) return api_fail(refused(answer.error()));
  const ChatReply shapes(random_id("chatcmpl-"), fields->model, context.now_ms() / 1000,
                         fields->include_usage);
  if (!fields->stream) return whole_answer(request, shapes, **answer);
  return streamed_answer(request, shapes, fields->include_usage, *answer);
}

}  // namespace

std::vector<Route> chat_routes(const ApiContext& context) {
  return {{"POST",
           "/v1/chat/completions",
           [&context](HttpRequest& request) { return complete_chat(context, request); },
           Scope::kRead,
           {.summary = "Lets a model answer a conversation, at once or as server-sent events",
            .reply = "ChatCompletion",
            .request = "CreateChatCompletion",
            .may_stream = true}}};
}

}  // namespace tunefleet::coordinator
