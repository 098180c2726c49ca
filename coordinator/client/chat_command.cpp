#include "coordinator/client/chat_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "coordinator/client/api_client.h"
#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/json_fields.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr const char* kPath = "/v1/chat/completions";

struct ChatArguments {
  std::string model;
  std::string prompt;
  std::string system;
  std::optional<int64_t> max_tokens;
  std::optional<double> temperature;
  std::optional<uint64_t> seed;
};

json request_of(const ChatArguments& arguments) {
  json messages = json::array();
  if (!arguments.system.empty()) {
    messages.push_back({{"role", "system"}, {"content", arguments.system}});
  }
  messages.push_back({{"role", "user"}, {"content", arguments.prompt}});
  json request{{"model", arguments.model}, {"messages", std::move(messages)}, {"stream", true}};
  if (arguments.max_tokens) request["max_tokens"] = *arguments.max_tokens;
  if (arguments.temperature) request["temperature"] = *arguments.temperature;
  if (arguments.seed) request["seed"] = *arguments.seed;
  return request;
}

/// Prints the pieces of one answer; for programs each chunk as a line of JSON.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(bool as_json) : as_json_(as_json) {}

  /// False when nothing follows.
  bool take(const std::string& data) {
    if (data == "[DONE]") {
      complete_ = true;
      return false;
    }
    const json chunk = json::parse(data, nullptr, false);
    failure_ = text_at(field_at(chunk, "error"), "message");
    if (!failure_.empty()) return false;
    show(as_json_ ? data + "\n" : text_of(chunk));
    return true;
  }

  /// Ends the answer's last line. kUnavailable when the answer was cut short.
  Status end() const {
    if (!as_json_) show("\n");
    if (complete_) return {};
    return fail(ErrorCode::kUnavailable,
                failure_.empty() ? "the answer was cut short, ask again" : failure_);
  }

 private:
  static std::string text_of(const json& chunk) {
    std::string text;
    const json choices = field_at(chunk, "choices");
    for (const json& choice : choices) text += text_at(field_at(choice, "delta"), "content");
    return text;
  }
  static void show(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  const bool as_json_;
  bool complete_ = false;
  std::string failure_;
};

int print_answer(ApiClient& client, const json& request, bool as_json) {
  AnswerPrinter printer(as_json);
  const auto followed = client.post_and_follow(
      kPath, request, [&printer](const std::string& data) { return printer.take(data); });
  if (!followed) return report(followed.error());
  const auto ended = printer.end();
  return ended ? kExitOk : report(ended.error());
}

void add_options(CLI::App& app, ChatArguments& arguments) {
  app.add_option("MODEL", arguments.model, "A name of `tunefleet models`: ft:… or a base model")
      ->required();
  app.add_option("PROMPT", arguments.prompt, "What the model is asked")->required();
  app.add_option("--system", arguments.system, "System prompt [the template's]");
  app.add_option("--max-tokens", arguments.max_tokens, "Tokens at most [1024]")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--temperature", arguments.temperature, "0: always the likeliest token [1]")
      ->check(CLI::Range(0.0, 2.0));
  app.add_option("--seed", arguments.seed, "Of the draws: same seed, same text");
}

}  // namespace

int run_chat(int argc, char** argv) {
  CLI::App app("Lets a base model or a tuned one answer a prompt", "tunefleet chat");
  ClientOptions options;
  ChatArguments arguments;
  add_options(app, arguments);
  add_client_options(app, options, "tunefleet chat SmolLM2-135M-Instruct \"Define love.\"");
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const auto address = find_service(options.service);
  if (!address) return report(address.error());
  ApiClient client(*address);
  return print_answer(client, request_of(arguments), options.json);
}

}  // namespace tunefleet::coordinator
