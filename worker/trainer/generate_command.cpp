#include "worker/trainer/generate_command.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "storage/model_store.h"
#include "worker/data/chat_template.h"
#include "worker/data/encode.h"
#include "worker/data/tokenizer.h"
#include "worker/trainer/device.h"
#include "worker/trainer/model_setup.h"

namespace tunefleet::trainer {
namespace {

Result<std::vector<std::string>> read_prompts(const GenerateRequest& request) {
  auto prompts = request.prompts;
  if (request.prompts_file.empty()) return prompts;
  std::ifstream in(request.prompts_file);
  if (!in) return fail(ErrorCode::kNotFound, "cannot read: " + request.prompts_file.string());
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("prompt") || !row["prompt"].is_string()) {
      return fail(ErrorCode::kInvalidArgument,
                  "a line without a text \"prompt\": " + request.prompts_file.string() + ":" +
                      std::to_string(number));
    }
    prompts.push_back(row["prompt"].get<std::string>());
  }
  return prompts;
}

/// Turns a prompt into token ids, by the model's chat template or as it is.
class PromptEncoder {
 public:
  static Result<PromptEncoder> make(const GenerateRequest& request,
                                    const std::filesystem::path& model) {
    auto tokenizer = data::Tokenizer::load(model);
    if (!tokenizer) return fail(tokenizer.error());
    std::optional<data::ChatTemplate> chat;
    if (!request.raw) {
      const auto source = data::TemplateSource::read(model);
      if (!source) return fail(source.error());
      auto chosen = data::ChatTemplate::choose(
          request.template_name.empty() ? std::nullopt : std::optional(request.template_name),
          *source);
      if (!chosen) return fail("choosing a chat template (or use --raw)", chosen.error());
      chat = *std::move(chosen);
    }
    return PromptEncoder(*std::move(tokenizer), std::move(chat), request.system);
  }

  Result<std::vector<int32_t>> encode(const std::string& prompt) const {
    if (!template_) return tokenizer_.encode(prompt, /*add_special_tokens=*/true);
    std::vector<Message> messages;
    if (!system_.empty()) messages.push_back({"system", system_, {}});
    messages.push_back({"user", prompt, {}});
    const data::RowEncoder encoder(tokenizer_, template_, {});
    auto sample = encoder.encode_conversation(messages, /*add_generation_prompt=*/true);
    if (!sample) return fail(sample.error());
    return std::move(sample->input_ids);
  }

  const data::Tokenizer& tokenizer() const { return tokenizer_; }
  /// The token that ends an answer in this template, if the tokenizer has it.
  std::optional<int32_t> end_of_turn() const {
    return template_ ? tokenizer_.token_id(template_->end_of_turn()) : std::nullopt;
  }

 private:
  PromptEncoder(data::Tokenizer tokenizer, std::optional<data::ChatTemplate> chat,
                std::string system)
      : tokenizer_(std::move(tokenizer)), template_(std::move(chat)), system_(std::move(system)) {}

  data::Tokenizer tokenizer_;
  std::optional<data::ChatTemplate> template_;
  std::string system_;
};

void print_json(const std::string& prompt, const std::vector<int32_t>& ids,
                const data::Tokenizer& tokenizer) {
  const nlohmann::ordered_json line{
      {"prompt", prompt}, {"text", tokenizer.decode(ids)}, {"token_ids", ids}};
  std::printf("%s\n", line.dump().c_str());
}

Status answer(const models::Decoder& model, const PromptEncoder& encoder, const std::string& prompt,
              const GenerateRequest& request) {
  const auto ids = encoder.encode(prompt);
  if (!ids) return fail(ids.error());
  if (ids->empty()) return fail(ErrorCode::kInvalidArgument, "the prompt is empty");
  data::StreamDecoder stream(encoder.tokenizer());
  const auto stop = encoder.end_of_turn();
  const auto on_token = [&](int32_t token) {
    if (!request.json) {
      std::fputs(stream.push(token).c_str(), stdout);
      std::fflush(stdout);
    }
    return !(request.options.stop_at_eos && stop && token == *stop);
  };
  const auto tokens = models::generate(model, *ids, request.options, on_token);
  if (request.json) {
    print_json(prompt, tokens, encoder.tokenizer());
  } else {
    std::printf("%s\n", stream.finish().c_str());
  }
  return {};
}

}  // namespace

Status generate_text(const GenerateRequest& request) {
  set_threads(1);
  const auto prompts = read_prompts(request);
  if (!prompts) return fail(prompts.error());
  if (prompts->empty())
    return fail(ErrorCode::kInvalidArgument, "nothing to answer: give --prompt or --prompts");
  const auto encoder = PromptEncoder::make(request, request.model);
  if (!encoder) return fail(encoder.error());
  const auto model = load_base(request.model, request.dtype, request.device, 0);
  if (!model) return fail(model.error());
  const auto swift = attach_adapters(**model, request.adapter);
  if (!swift) return fail(swift.error());
  for (const auto& prompt : *prompts) {
    if (auto status = answer(**model, *encoder, prompt, request); !status) return status;
  }
  return {};
}

}  // namespace tunefleet::trainer
