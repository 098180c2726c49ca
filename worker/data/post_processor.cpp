#include "worker/data/post_processor.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace tunefleet::data {
namespace {

Result<PostProcessor> from_template(const nlohmann::json& config) {
  PostProcessor processor;
  bool seen_text = false;
  for (const auto& piece : config.at("single")) {
    if (piece.contains("Sequence")) {
      if (seen_text)
        return fail(ErrorCode::kInvalidArgument, "the post_processor repeats the text");
      seen_text = true;
      continue;
    }
    const auto name = piece.at("SpecialToken").at("id").get<std::string>();
    const auto ids = config.at("special_tokens").at(name).at("ids").get<std::vector<int32_t>>();
    auto& side = seen_text ? processor.after : processor.before;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  return processor;
}

}  // namespace

Result<PostProcessor> PostProcessor::from_json(const nlohmann::json& config) {
  if (config.is_null()) return PostProcessor{};
  const auto type = config.at("type").get<std::string>();
  if (type == "ByteLevel") return PostProcessor{};
  if (type == "TemplateProcessing") return from_template(config);
  if (type != "Sequence") {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("unknown post_processor: {}; known: ByteLevel, TemplateProcessing, "
                            "Sequence",
                            type));
  }
  PostProcessor all;
  for (const auto& part : config.at("processors")) {
    auto next = from_json(part);
    if (!next) return next;
    all.before.insert(all.before.begin(), next->before.begin(), next->before.end());
    all.after.insert(all.after.end(), next->after.begin(), next->after.end());
  }
  return all;
}

}  // namespace tunefleet::data
