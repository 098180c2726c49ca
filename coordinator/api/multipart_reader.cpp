#include "coordinator/api/multipart_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr size_t kMaxBoundary = 70;  // RFC 2046
constexpr size_t kMaxHeaders = 8 * 1024;
constexpr int kMaxParts = 16;

tl::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::kInvalidArgument, fmt::format("malformed multipart body: {}", what));
}

bool starts_with_word(std::string_view text, std::string_view word) {
  return text.size() >= word.size() &&
         std::equal(word.begin(), word.end(), text.begin(), [](char a, char b) {
           return a == std::tolower(static_cast<unsigned char>(b));
         });
}

/// The value of `name=value` or `name="value"` after a semicolon; browsers and httpx write a quote
/// inside as %22 or \".
std::optional<std::string> parameter(std::string_view header, std::string_view name) {
  bool quoted = false;
  for (size_t i = 0; i < header.size(); ++i) {
    if (header[i] == '\\' && quoted)
      ++i;
    else if (header[i] == '"')
      quoted = !quoted;
    if (quoted || header[i] != ';') continue;
    auto rest = header.substr(i + 1);
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    if (!starts_with_word(rest, name) || rest.substr(name.size(), 1) != "=") continue;
    rest.remove_prefix(name.size() + 1);
    if (rest.substr(0, 1) != "\"") return std::string(rest.substr(0, rest.find_first_of("; \t")));
    std::string value;
    for (size_t k = 1; k < rest.size() && rest[k] != '"'; ++k) {
      if (rest[k] == '\\' && k + 1 < rest.size() && (rest[k + 1] == '"' || rest[k + 1] == '\\'))
        ++k;
      value += rest[k];
    }
    return value;
  }
  return std::nullopt;
}

}  // namespace

Result<std::string> MultipartReader::boundary_of(std::string_view content_type) {
  if (!starts_with_word(content_type, "multipart/form-data")) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a file is uploaded as multipart/form-data, the request's type is: {}",
                            content_type.empty() ? "none" : content_type));
  }
  const auto boundary = parameter(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kMaxBoundary) {
    return malformed("its type names no boundary of 1 to 70 characters");
  }
  return *boundary;
}

MultipartReader::MultipartReader(const std::string& boundary, MultipartVisitor visitor)
    : delimiter_("\r\n--" + boundary), visitor_(std::move(visitor)) {}

Status MultipartReader::feed(std::string_view piece) {
  held_ += piece;
  for (;;) {
    const auto more = step();
    if (!more) return fail(more.error());
    if (!*more) return {};
  }
}

Status MultipartReader::finish() const {
  if (where_ == Where::kEpilogue) return {};
  return malformed("it ends before its last boundary");
}

/// Does one thing with what is held; false when more must arrive first.
Result<bool> MultipartReader::step() {
  switch (where_) {
    case Where::kPreamble: {
      const size_t found = held_.find(delimiter_);
      if (found == std::string::npos) {
        if (held_.size() > kMaxHeaders) return malformed("its first boundary is missing");
        return false;
      }
      held_.erase(0, found + delimiter_.size());
      where_ = Where::kAfterBoundary;
      return true;
    }
    case Where::kAfterBoundary:
      return read_after_boundary();
    case Where::kHeaders:
      return read_headers();
    case Where::kData:
      return read_data();
    case Where::kEpilogue:
      held_.clear();
      return false;
  }
  return false;
}

Result<bool> MultipartReader::read_after_boundary() {
  if (held_.size() < 2) return false;
  if (held_.compare(0, 2, "--") == 0) {
    where_ = Where::kEpilogue;
    return true;
  }
  if (held_.compare(0, 2, "\r\n") != 0) return malformed("a boundary does not end its line");
  if (++parts_ > kMaxParts) return malformed("it has too many parts");
  where_ = Where::kHeaders;  // The line break stays: headers begin after it.
  return true;
}

Result<bool> MultipartReader::read_headers() {
  const size_t end = held_.find("\r\n\r\n");
  if (std::min(end, held_.size()) > kMaxHeaders) return malformed("a part's headers are too long");
  if (end == std::string::npos) return false;
  MultipartPart part;
  bool named = false;
  std::string_view rest = std::string_view(held_).substr(0, end);
  while (!rest.empty()) {
    rest.remove_prefix(2);  // the line break before it
    const auto line = rest.substr(0, rest.find("\r\n"));
    rest.remove_prefix(line.size());
    if (!starts_with_word(line, "content-disposition:")) continue;
    const auto name = parameter(line, "name");
    named = name.has_value();
    part.name = name.value_or("");
    part.filename = parameter(line, "filename");
  }
  if (!named) return malformed("a part has no name");
  held_.erase(0, end + 4);
  where_ = Where::kData;
  if (const auto begun = visitor_.begin(part); !begun) return fail(begun.error());
  return true;
}

Result<bool> MultipartReader::read_data() {
  const size_t found = held_.find(delimiter_);
  // The last bytes may be the beginning of a boundary.
  const size_t keep = delimiter_.size() - 1;
  const size_t ready = found != std::string::npos ? found
                       : held_.size() > keep      ? held_.size() - keep
                                                  : 0;
  if (ready > 0) {
    if (const auto taken = visitor_.data(std::string_view(held_).substr(0, ready)); !taken) {
      return fail(taken.error());
    }
    held_.erase(0, ready);
  }
  if (found == std::string::npos) return false;
  held_.erase(0, delimiter_.size());
  where_ = Where::kAfterBoundary;
  if (const auto ended = visitor_.end(); !ended) return fail(ended.error());
  return true;
}

}  // namespace tunefleet::coordinator
