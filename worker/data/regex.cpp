#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/data/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <array>

namespace tunefleet::data {
namespace {

constexpr size_t kJitStackBytes = size_t{8} << 20;

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};

/// What a thread needs to run matches; one pair of offsets is enough, groups are not asked for.
struct MatchSpace {
  std::unique_ptr<pcre2_match_data, FreeMatch> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, FreeMatch> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, FreeMatch> stack{
      pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr)};

  MatchSpace() { pcre2_jit_stack_assign(context.get(), nullptr, stack.get()); }
};

MatchSpace& match_space() {
  thread_local MatchSpace space;
  return space;
}

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, FreeMatch> code;
  bool compiled_to_machine = false;
};

Result<Regex> Regex::compile(std::string_view pattern) {
  auto translated = translate_pattern(pattern);
  if (!translated) return fail(translated.error());
  std::unique_ptr<pcre2_compile_context, FreeMatch> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  auto compiled = std::make_shared<Code>();
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()),
                                     translated->size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                     &code, &offset, context.get()));
  if (!compiled->code) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("malformed regular expression: {}: {}", error_text(code), pattern));
  }
  compiled->compiled_to_machine = pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::move(compiled));
}

Result<Regex> Regex::literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) || (c & 0x80);
    if (c == '\n') {
      pattern += "\\n";
    } else {
      if (!is_plain) pattern += '\\';
      pattern += c;
    }
  }
  return compile(pattern);
}

Result<std::optional<TextRange>> Regex::find(std::string_view text, size_t from) const {
  auto& space = match_space();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto match = code_->compiled_to_machine ? &pcre2_jit_match : &pcre2_match;
  const uint32_t options = code_->compiled_to_machine ? 0 : PCRE2_NO_UTF_CHECK;
  const int found = match(code_->code.get(), subject, text.size(), from, options, space.data.get(),
                          space.context.get());
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("splitting the text failed: {}", error_text(found)));
  }
  const auto* offsets = pcre2_get_ovector_pointer(space.data.get());
  return TextRange{offsets[0], offsets[1]};
}

}  // namespace tunefleet::data
