#include "coordinator/api/chunked_body.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

namespace tunefleet::coordinator {
namespace {

constexpr size_t kMaxLine = 256;
constexpr size_t kMaxDigits = 15;  // Any such size fits 64 bits.
constexpr size_t kPiece = 16 * 1024;

tl::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::kInvalidArgument, "the body's chunks are malformed: " + std::string(what));
}

tl::unexpected<Error> incomplete() {
  return fail(ErrorCode::kInvalidArgument, "the request's body is not complete");
}

/// A line without its CRLF.
Result<std::string> read_line(const ByteSource& source) {
  std::string line;
  for (char c = '\0'; source(&c, 1) == 1;) {
    const bool after_return = line.ends_with('\r');
    if (c == '\n' && after_return) {
      line.pop_back();
      return line;
    }
    if (c == '\n' || after_return) return malformed("a line does not end in CRLF");
    if (line.size() == kMaxLine) return malformed("a line is too long");
    line += c;
  }
  return incomplete();
}

/// Of "1f" or "1f;name=value".
Result<uint64_t> size_of(std::string_view line) {
  const auto digits = line.substr(0, line.find(';'));
  uint64_t size = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  if (!whole || digits.size() > kMaxDigits) return malformed("a size is not a number");
  return size;
}

Status read_chunk(const ByteSource& source, uint64_t size, const BodyReceiver& receive) {
  std::array<char, kPiece> buffer{};
  while (size > 0) {
    const ssize_t got = source(buffer.data(), std::min<uint64_t>(size, buffer.size()));
    if (got <= 0) return incomplete();
    if (!receive({buffer.data(), static_cast<size_t>(got)})) return incomplete();
    size -= static_cast<uint64_t>(got);
  }
  const auto end = read_line(source);
  if (!end) return fail(end.error());
  if (!end->empty()) return malformed("a chunk is longer than its size");
  return {};
}

}  // namespace

Status read_chunked_body(const ByteSource& source, const BodyReceiver& receive) {
  for (;;) {
    const auto line = read_line(source);
    if (!line) return fail(line.error());
    const auto size = size_of(*line);
    if (!size) return fail(size.error());
    if (*size == 0) break;
    if (const auto chunk = read_chunk(source, *size, receive); !chunk) return chunk;
  }
  const auto end = read_line(source);
  if (!end) return fail(end.error());
  if (!end->empty()) return malformed("trailers are not taken");
  return {};
}

}  // namespace tunefleet::coordinator
