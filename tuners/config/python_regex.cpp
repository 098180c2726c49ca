#define PCRE2_CODE_UNIT_WIDTH 8
#include "tuners/config/python_regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <array>

namespace tunefleet::tuners {
namespace {

constexpr uint32_t kMatchLimit = 1'000'000;

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// Python reads {,n} as {0,n}; PCRE2 before 10.43 reads it as text.
std::string python_quantifiers(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    out += c;
    if (c == '\\' && i + 1 < pattern.size()) {
      out += pattern[++i];
    } else if (c == '[') {
      in_class = true;
    } else if (c == ']') {
      in_class = false;
    } else if (c == '{' && !in_class && i + 1 < pattern.size() && pattern[i + 1] == ',') {
      out += '0';
    }
  }
  return out;
}

}  // namespace

Result<PythonRegex> PythonRegex::compile(std::string_view pattern) {
  const std::string source = python_quantifiers(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_ALT_BSUX, &error, &offset, nullptr);
  if (code == nullptr) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("not a regular expression: {} at offset {}: \"{}\"",
                            pcre2_message(error), offset, pattern));
  }
  return PythonRegex(std::shared_ptr<pcre2_real_code_8>(code, &pcre2_code_free));
}

Result<std::vector<std::string>> PythonRegex::run(std::string_view text, unsigned options) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code_.get(), nullptr), &pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), kMatchLimit);
  const int count = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                0, options, data.get(), context.get());
  if (count == PCRE2_ERROR_NOMATCH) return std::vector<std::string>{};
  if (count < 0) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("regular expression gave up: {} on \"{}\"",
                                                         pcre2_message(count), text));
  }
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
  std::vector<std::string> groups;
  for (int i = 0; i < count; ++i) {
    const bool took_part = ends[2 * i] != PCRE2_UNSET;
    groups.emplace_back(took_part ? text.substr(ends[2 * i], ends[2 * i + 1] - ends[2 * i])
                                  : std::string_view{});
  }
  return groups;
}

Result<bool> PythonRegex::fullmatch(std::string_view text) const {
  return run(text, PCRE2_ANCHORED | PCRE2_ENDANCHORED).map([](const auto& groups) {
    return !groups.empty();
  });
}

Result<std::vector<std::string>> PythonRegex::match(std::string_view text) const {
  return run(text, PCRE2_ANCHORED);
}

int PythonRegex::group(const std::string& name) const {
  const int number =
      pcre2_substring_number_from_name(code_.get(), reinterpret_cast<PCRE2_SPTR>(name.c_str()));
  return number > 0 ? number : 0;
}

}  // namespace tunefleet::tuners
