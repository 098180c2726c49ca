#include "worker/data/template_text.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "worker/data/chat_template.h"
#include "worker/data/utf8.h"

namespace tunefleet::data {
namespace {

constexpr std::string_view kSystemMark = "<|im_start|>system";

/// White space to Python: Unicode's and the four separators U+001C to U+001F.
bool is_python_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

/// Undoes the escapes of a Jinja string literal: \n, \t, \\, \' and \".
std::string unescape(std::string_view literal) {
  std::string text;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      text += literal[i];
      continue;
    }
    const char next = literal[++i];
    text += next == 'n' ? '\n' : next == 't' ? '\t' : next;
  }
  return text;
}

/// The content of a small file; nothing when it is not there.
std::optional<std::string> read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// "…", or {"content": "…"} as older files write a token.
std::string token_text(const nlohmann::json& config, const char* key) {
  if (!config.contains(key)) return "";
  const auto& token = config[key];
  if (token.is_string()) return token.get<std::string>();
  return token.is_object() ? token.value("content", "") : "";
}

/// A text, or a list of named ones of which the default counts.
std::string chat_template_text(const nlohmann::json& config) {
  if (!config.contains("chat_template")) return "";
  const auto& value = config["chat_template"];
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return "";
  for (const auto& entry : value) {
    if (entry.at("name") == "default") return entry.at("template").get<std::string>();
  }
  return "";
}

}  // namespace

std::optional<std::string> chatml_default_system(std::string_view jinja) {
  for (size_t at = jinja.find(kSystemMark); at != std::string_view::npos;
       at = jinja.find(kSystemMark, at + 1)) {
    const char quote = at > 0 ? jinja[at - 1] : '\0';
    if (quote != '\'' && quote != '"') continue;
    const auto rest = jinja.substr(at + kSystemMark.size());
    const size_t end = rest.find("<|im_end|>");
    if (end == std::string_view::npos) return std::nullopt;
    const auto literal = rest.substr(0, end);
    if (literal.find(quote) != std::string_view::npos)
      continue;  // the literal ends before the turn
    const std::string text = unescape(literal);
    if (text.starts_with('\n')) return text.substr(1);
  }
  return std::nullopt;
}

std::string_view trim_white_space(std::string_view text) {
  while (!text.empty()) {
    const auto [value, bytes] = code_point_at(text, 0);
    if (!is_python_space(value)) break;
    text.remove_prefix(bytes);
  }
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (text[last] & 0xC0) == 0x80) --last;
    if (!is_python_space(code_point_at(text, last).value)) break;
    text = text.substr(0, last);
  }
  return text;
}

Result<TemplateSource> TemplateSource::read(const std::filesystem::path& model_directory) {
  TemplateSource source;
  source.name = model_directory.string();
  const auto file = model_directory / "tokenizer_config.json";
  try {
    if (const auto text = read_text(file)) {
      const auto config = nlohmann::json::parse(*text);
      source.chat_template = chat_template_text(config);
      source.eos_token = token_text(config, "eos_token");
    }
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("malformed JSON: {}, {}", file.string(), error.what()));
  }
  if (auto jinja = read_text(model_directory / "chat_template.jinja")) {
    source.chat_template = std::move(*jinja);
  }
  return source;
}

}  // namespace tunefleet::data
