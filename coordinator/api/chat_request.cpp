#include "coordinator/api/chat_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/api/json_body.h"
#include "proto/nearest_name.h"
#include "proto/utf8_text.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTokens = 1 << 20;
constexpr size_t kMaxMessages = 2048;
constexpr size_t kMaxStops = 4;
constexpr size_t kMaxStop = 256;

constexpr std::array<std::string_view, 12> kRead{
    "model",       "messages", "max_tokens",     "max_completion_tokens",
    "temperature", "top_p",    "top_k",          "seed",
    "stop",        "stream",   "stream_options", "n"};
/// They say who asks and how it is billed, and change no answer.
constexpr std::array<std::string_view, 7> kWithoutEffect{"user",
                                                         "metadata",
                                                         "store",
                                                         "service_tier",
                                                         "safety_identifier",
                                                         "prompt_cache_key",
                                                         "parallel_tool_calls"};

struct Neutral {
  std::string_view name;
  json value;
};
/// Fields of OpenAI's that are taken with the value that asks for nothing.
const std::vector<Neutral>& neutral_fields() {
  static const std::vector<Neutral> fields{{"frequency_penalty", 0},
                                           {"presence_penalty", 0},
                                           {"logprobs", false},
                                           {"top_logprobs", 0},
                                           {"logit_bias", json::object()},
                                           {"tools", json::array()},
                                           {"functions", json::array()},
                                           {"tool_choice", "none"},
                                           {"function_call", "none"},
                                           {"modalities", json::array({"text"})},
                                           {"response_format", {{"type", "text"}}}};
  return fields;
}

template <typename Names>
bool is_one_of(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

uint64_t random_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

/// Reads one body, and gathers what is wrong with it.
class Reader {
 public:
  explicit Reader(const json& body) : body_(body) {}

  ApiResult<ChatFields> read() {
    check_names();
    read_model();
    read_messages();
    read_max_tokens();
    fields_.order.temperature = number("temperature", 1.0, 0.0, 2.0);
    fields_.order.top_p = number("top_p", 1.0, 0.0, 1.0);
    fields_.order.top_k = whole("top_k", 0, 0, std::numeric_limits<int32_t>::max());
    read_seed();
    read_stop();
    read_stream();
    if (whole("n", 1, 1, 128) != 1)
      problem("n", "only one answer is given at a time, leave it out");
    if (problems_.empty()) return std::move(fields_);
    return api_fail(bad_request(std::move(problems_), std::move(first_)));
  }

 private:
  void problem(const std::string& param, std::string_view message) {
    if (problems_.empty()) first_ = param;
    problems_ += fmt::format("{}{}: {}", problems_.empty() ? "" : "\n", param, message);
  }

  const json* given(const std::string& key) const {
    const auto found = body_.find(key);
    return found == body_.end() || found->is_null() ? nullptr : &*found;
  }

  void check_names() {
    for (const auto& [key, value] : body_.items()) {
      if (is_one_of(kRead, key) || is_one_of(kWithoutEffect, key) || value.is_null()) continue;
      const auto& neutral = neutral_fields();
      const auto known =
          std::find_if(neutral.begin(), neutral.end(),
                       [&key = key](const Neutral& each) { return each.name == key; });
      if (known == neutral.end()) {
        problem(key, "unknown field" + meant(key));
      } else if (value != known->value) {
        problem(key, "is not supported, leave it out");
      }
    }
  }

  static std::string meant(const std::string& key) {
    std::vector<std::string_view> names(kRead.begin(), kRead.end());
    for (const Neutral& each : neutral_fields()) names.push_back(each.name);
    const auto near = nearest_name(key, names);
    return near ? fmt::format(", did you mean {}?", *near) : "";
  }

  void read_model() {
    const json* model = given("model");
    if (model == nullptr || !model->is_string() || model->get_ref<const std::string&>().empty()) {
      return problem("model", "is required: the name of a model, as GET /v1/models lists them");
    }
    fields_.model = model->get<std::string>();
  }

  void read_messages() {
    const json* messages = given("messages");
    if (messages == nullptr || !messages->is_array() || messages->empty()) {
      return problem("messages", "is required: a list of {role, content}");
    }
    if (messages->size() > kMaxMessages) {
      return problem("messages", fmt::format("are more than {}", kMaxMessages));
    }
    for (size_t i = 0; i < messages->size(); ++i) {
      read_message(messages->at(i), fmt::format("messages[{}]", i));
    }
  }

  void read_message(const json& message, const std::string& where) {
    if (!message.is_object()) return problem(where, "must be an object {role, content}");
    const json role = message.value("role", json());
    std::string name = role.is_string() ? role.get<std::string>() : "";
    if (name == "developer") name = "system";  // OpenAI's newer name for the same.
    if (name != "system" && name != "user" && name != "assistant") {
      return problem(where + ".role",
                     "must be system, developer, user or assistant; tools are not supported");
    }
    for (const char* key : {"tool_calls", "function_call", "audio"}) {
      if (!message.value(key, json()).is_null()) problem(where + "." + key, "is not supported");
    }
    fields_.order.messages.push_back(
        {.role = std::move(name),
         .content = text_of(message.value("content", json()), where + ".content"),
         .loss = {}});
  }

  /// A text, or OpenAI's list of text parts joined.
  std::string text_of(const json& content, const std::string& where) {
    if (content.is_string()) return content.get<std::string>();
    std::string text;
    bool good = content.is_array();
    for (const json& part : good ? content : json::array()) {
      const json piece = part.is_object() && part.value("type", json()) == "text"
                             ? part.value("text", json())
                             : json();
      good = good && piece.is_string();
      if (good) text += piece.get_ref<const std::string&>();
    }
    if (!good) problem(where, "must be text, or a list of {\"type\":\"text\",\"text\":…}");
    return text;
  }

  void read_max_tokens() {
    const int64_t old = whole("max_tokens", 0, 1, kMaxTokens);
    const int64_t current = whole("max_completion_tokens", 0, 1, kMaxTokens);
    if (old != 0 && current != 0 && old != current) {
      problem("max_tokens", "differs from max_completion_tokens, give one of them");
    }
    const int64_t wanted = std::max(old, current);
    fields_.order.max_tokens = wanted == 0 ? kDefaultAnswerTokens : wanted;
  }

  double number(const std::string& key, double fallback, double low, double high) {
    const json* value = given(key);
    if (value == nullptr) return fallback;
    const double read = value->is_number() ? value->get<double>() : low - 1;
    if (read >= low && read <= high) return read;
    problem(key, fmt::format("must be a number from {} to {}", low, high));
    return fallback;
  }

  int64_t whole(const std::string& key, int64_t fallback, int64_t low, int64_t high) {
    const json* value = given(key);
    if (value == nullptr) return fallback;
    const auto number = whole_number(*value);
    if (number && *number >= low && *number <= high) return *number;
    problem(key, fmt::format("must be a whole number from {} to {}", low, high));
    return fallback;
  }

  /// Any whole number of 64 bits, also a negative one.
  void read_seed() {
    const json* seed = given("seed");
    if (seed == nullptr) {
      fields_.order.seed = random_seed();
    } else if (seed->is_number_unsigned()) {
      fields_.order.seed = seed->get<uint64_t>();
    } else if (const auto whole = whole_number(*seed)) {
      fields_.order.seed = static_cast<uint64_t>(*whole);
    } else {
      problem("seed", "must be a whole number");
    }
  }

  void read_stop() {
    const json* stop = given("stop");
    if (stop == nullptr) return;
    const json list = stop->is_array() ? *stop : json::array({*stop});
    if (list.size() > kMaxStops) problem("stop", fmt::format("are more than {} texts", kMaxStops));
    for (const json& text : list) {
      const size_t size = text.is_string() ? characters_in(text.get_ref<const std::string&>()) : 0;
      if (size == 0 || size > kMaxStop) {
        return problem(
            "stop",
            fmt::format("must be a text or a list of texts, of 1 to {} characters each", kMaxStop));
      }
      fields_.order.stop.push_back(text.get<std::string>());
    }
  }

  bool flag(const json& object, const std::string& key, const std::string& where) {
    const json value = object.value(key, json());
    if (value.is_null()) return false;
    if (!value.is_boolean()) problem(where, "must be true or false");
    return value.is_boolean() && value.get<bool>();
  }

  void read_stream() {
    fields_.stream = flag(body_, "stream", "stream");
    const json* options = given("stream_options");
    if (options == nullptr) return;
    if (!fields_.stream) return problem("stream_options", "needs stream: true");
    if (!options->is_object()) return problem("stream_options", "must be an object");
    fields_.include_usage = flag(*options, "include_usage", "stream_options.include_usage");
  }

  const json& body_;
  ChatFields fields_;
  std::string problems_;
  std::string first_;  ///< The field of the first problem.
};

}  // namespace

ApiResult<ChatFields> read_chat_request(const json& body) { return Reader(body).read(); }

}  // namespace tunefleet::coordinator
