#include "worker/data/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "worker/data/unicode_tables.h"
#include "worker/data/utf8.h"

namespace tunefleet::data {
namespace {

struct NamedForm {
  std::string_view name;
  int options;
};
constexpr std::array kForms{
    NamedForm{"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
    NamedForm{"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
    NamedForm{"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
    NamedForm{"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
};

struct FreeMemory {
  void operator()(utf8proc_uint8_t* text) const { std::free(text); }
};

bool is_ascii(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return (c & 0x80) != 0; });
}

/// Whether the `tokenizers` package, whose tables are older than utf8proc's, does not know the
/// character.
bool is_left_alone(char32_t value) {
  const auto* after =
      std::ranges::upper_bound(kLeftByNormalizers, value, {}, &CharacterRange::first);
  return after != kLeftByNormalizers.begin() && value <= std::prev(after)->last;
}

Status append_form(std::string_view text, int options, std::string& out) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                   static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, FreeMemory> owned(mapped);
  if (length < 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("normalizing the text failed: {}", utf8proc_errmsg(length)));
  }
  out.append(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
  return {};
}

/// Normalizes what lies between characters that are left alone.
Result<std::string> unicode_form(std::string_view text, int options) {
  if (is_ascii(text)) return std::string(text);  // ASCII is the same in every form
  std::string out;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const auto [value, bytes] = code_point_at(text, at);
    if (is_left_alone(value)) {
      if (auto status = append_form(text.substr(begin, at - begin), options, out); !status) {
        return fail(status.error());
      }
      out += text.substr(at, bytes);
      begin = at + bytes;
    }
    at += bytes;
  }
  if (auto status = append_form(text.substr(begin), options, out); !status) {
    return fail(status.error());
  }
  return out;
}

char32_t lower_case(char32_t value) {
  const auto* pair = std::ranges::lower_bound(kLowerCases, value, {}, &CasePair::upper);
  if (pair != kLowerCases.end() && pair->upper == value) return pair->lower;
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(value)));
}

std::string lowercase(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto [value, bytes] = code_point_at(text, at);
    at += bytes;
    if (value == 0x130) {
      lower += "i\xCC\x87";  // the one character whose lower case is two: i and a dot above
    } else {
      append_code_point(lower_case(value), lower);
    }
  }
  return lower;
}

Result<std::string> replace_all(std::string_view text, const Regex& pattern,
                                std::string_view content) {
  std::string replaced;
  size_t copied = 0;
  for (size_t at = 0; at <= text.size();) {
    const auto match = pattern.find(text, at);
    if (!match) return fail(match.error());
    if (!*match) break;
    const auto [begin, end] = **match;
    replaced.append(text, copied, begin - copied);
    if (end > begin) replaced += content;
    copied = end;
    if (end == text.size()) break;
    at = end > begin ? end : end + code_point_at(text, end).bytes;
  }
  replaced += text.substr(copied);
  return replaced;
}

}  // namespace

Result<Regex> pattern_from_json(const nlohmann::json& config) {
  if (config.contains("String")) return Regex::literal(config["String"].get<std::string>());
  return Regex::compile(config.at("Regex").get<std::string>());
}

Result<Normalizer> Normalizer::from_json(const nlohmann::json& config) {
  Normalizer normalizer;
  if (auto status = normalizer.add(config); !status) return fail(status.error());
  return normalizer;
}

Status Normalizer::add(const nlohmann::json& config) {
  if (config.is_null()) return {};
  const auto type = config.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const auto& part : config.at("normalizers")) {
      if (auto status = add(part); !status) return status;
    }
    return {};
  }
  const auto* form = std::ranges::find(kForms, type, &NamedForm::name);
  if (form != kForms.end()) {
    steps_.emplace_back(UnicodeForm{form->options});
  } else if (type == "Lowercase") {
    steps_.emplace_back(Lowercase{});
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{config.at("prepend").get<std::string>()});
  } else if (type == "Replace") {
    auto pattern = pattern_from_json(config.at("pattern"));
    if (!pattern) return fail(pattern.error());
    steps_.emplace_back(Replace{std::move(*pattern), config.at("content").get<std::string>()});
  } else {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("unknown normalizer: {}; known: NFC, NFD, NFKC, NFKD, Lowercase, "
                            "Prepend, Replace, Sequence",
                            type));
  }
  return {};
}

Result<std::string> Normalizer::normalize(std::string_view text) const {
  std::string current(text);
  for (const auto& step : steps_) {
    auto next = run(step, current);
    if (!next) return next;
    current = std::move(*next);
  }
  return current;
}

Result<std::string> Normalizer::run(const Step& step, std::string_view text) {
  if (const auto* form = std::get_if<UnicodeForm>(&step)) return unicode_form(text, form->options);
  if (std::holds_alternative<Lowercase>(step)) return lowercase(text);
  if (const auto* prepend = std::get_if<Prepend>(&step)) {
    return text.empty() ? std::string() : prepend->text + std::string(text);
  }
  const auto& replace = std::get<Replace>(step);
  return replace_all(text, replace.pattern, replace.content);
}

}  // namespace tunefleet::data
