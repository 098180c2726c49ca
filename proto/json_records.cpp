#include "proto/json_records.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tunefleet {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 18;

bool is_space(int c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/// Follows nesting and strings through JSON text, one character at a time.
struct NestingScanner {
  int64_t depth = 0;
  bool in_string = false;
  bool escaped = false;

  void step(char c) {
    if (escaped) {
      escaped = false;
    } else if (in_string) {
      escaped = c == '\\';
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
};

bool deeper_than(const std::string& text, int64_t max_depth) {
  NestingScanner scanner;
  for (const char c : text) {
    scanner.step(c);
    if (scanner.depth > max_depth) return true;
  }
  return false;
}

}  // namespace

Result<JsonRecordReader> JsonRecordReader::open(const std::filesystem::path& path,
                                                int64_t max_record_bytes, int64_t max_depth) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return fail(ErrorCode::kNotFound, fmt::format("no such file: {}", path.string()));
  }
  if (status.type() != std::filesystem::file_type::regular) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("not a regular file: {}", path.string()));
  }
  JsonRecordReader reader;
  reader.file_.reset(std::fopen(path.c_str(), "rb"));
  if (!reader.file_) {
    const auto code = errno == EACCES ? ErrorCode::kPermissionDenied : ErrorCode::kUnavailable;
    return fail(code, fmt::format("cannot open: {}, {}", path.string(), std::strerror(errno)));
  }
  reader.buffer_.resize(kBufferBytes);
  reader.max_record_bytes_ = max_record_bytes;
  reader.max_depth_ = max_depth;
  reader.skip_byte_order_mark();
  if (reader.peek_after_space() == '[') {
    reader.get();
    reader.layout_ = Layout::kArray;
  }
  return reader;
}

Result<bool> JsonRecordReader::next(JsonRecord& record) {
  record = {};
  Result<bool> more = false;
  if (layout_ == Layout::kLines) more = next_line(record);
  if (layout_ == Layout::kArray) more = next_element(record);
  if (failed_)
    return fail(ErrorCode::kUnavailable, fmt::format("reading failed at line {}", line_));
  return more;
}

void JsonRecordReader::fill() {
  begin_ = 0;
  end_ = std::fread(buffer_.data(), 1, buffer_.size(), file_.get());
  failed_ = failed_ || std::ferror(file_.get()) != 0;
}

int JsonRecordReader::peek() {
  if (begin_ == end_) fill();
  return begin_ == end_ ? EOF : static_cast<unsigned char>(buffer_[begin_]);
}

int JsonRecordReader::get() {
  const int c = peek();
  if (c == EOF) return c;
  ++begin_;
  if (c == '\n') ++line_;
  return c;
}

int JsonRecordReader::peek_after_space() {
  while (is_space(peek())) get();
  return peek();
}

void JsonRecordReader::skip_byte_order_mark() {
  fill();
  if (end_ >= 3 && std::memcmp(buffer_.data(), "\xEF\xBB\xBF", 3) == 0) begin_ = 3;
}

/// Reads up to the next end of line that follows something else than white space.
bool JsonRecordReader::next_line(JsonRecord& record) {
  if (peek_after_space() == EOF) return false;
  record.line = line_;
  bool too_long = false;
  while (peek() != EOF) {
    const char* from = buffer_.data() + begin_;
    const auto* newline = static_cast<const char*>(std::memchr(from, '\n', end_ - begin_));
    const size_t length = newline ? static_cast<size_t>(newline - from) : end_ - begin_;
    too_long = too_long || static_cast<int64_t>(record.text.size() + length) > max_record_bytes_;
    if (!too_long) record.text.append(from, length);
    begin_ += length;
    if (newline) {
      get();
      break;
    }
  }
  while (!record.text.empty() && is_space(record.text.back())) record.text.pop_back();
  judge(record, too_long);
  return true;
}

/// Reads one element of the array and the comma or bracket around it.
Result<bool> JsonRecordReader::next_element(JsonRecord& record) {
  int c = peek_after_space();
  if (elements_ > 0 && c == ',') {
    get();
    c = peek_after_space();
    if (c == ']') return structural_error("a comma before the array's end");
  } else if (elements_ > 0 && c != ']') {
    return structural_error(c == EOF ? "the array does not end"
                                     : "expected ',' or ']' after an element");
  }
  if (c == ']') {
    get();
    if (peek_after_space() != EOF) return structural_error("text after the array's end");
    layout_ = Layout::kEnded;
    return false;
  }
  if (c == EOF) return structural_error("the array does not end");
  record.line = line_;
  ++elements_;
  bool too_long = false;
  if (!read_value(record.text, too_long)) return structural_error("the array does not end");
  judge(record, too_long);
  return true;
}

/// Appends characters up to the comma or bracket that ends the value; false at the file's end.
bool JsonRecordReader::read_value(std::string& text, bool& too_long) {
  NestingScanner scanner;
  for (int c = peek(); c != EOF; c = peek()) {
    const bool at_top = scanner.depth == 0 && !scanner.in_string;
    if (at_top && (c == ',' || c == ']')) {
      while (!text.empty() && is_space(text.back())) text.pop_back();
      return true;
    }
    scanner.step(static_cast<char>(c));
    too_long = too_long || static_cast<int64_t>(text.size()) >= max_record_bytes_;
    if (!too_long) text.push_back(static_cast<char>(c));
    get();
  }
  return false;
}

Result<bool> JsonRecordReader::structural_error(const char* reason) {
  layout_ = Layout::kEnded;
  return fail(ErrorCode::kInvalidArgument, fmt::format("{}: {}", line_, reason));
}

void JsonRecordReader::judge(JsonRecord& record, bool too_long) const {
  if (too_long) {
    record.problem = fmt::format("longer than {} bytes", max_record_bytes_);
  } else if (deeper_than(record.text, max_depth_)) {
    record.problem = fmt::format("nested deeper than {} levels", max_depth_);
  }
  if (!record.problem.empty()) record.text.clear();
}

}  // namespace tunefleet
