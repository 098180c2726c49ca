#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "proto/result.h"

namespace tunefleet {

/// The JSON text of one record and where it begins.
struct JsonRecord {
  int64_t line = 0;  ///< From 1.
  std::string text;  ///< Empty when there is a problem.
  std::string
      problem;  ///< Why this record cannot be used (too long, too deep); the next ones still can.
};

/// Cuts a file into records without parsing them: the lines of a JSONL file, or the elements of a
/// file that is one JSON array. Which of the two is told by the first character. Holds one record
/// in memory at a time.
class JsonRecordReader {
 public:
  /// Errors: kNotFound, kPermissionDenied, kInvalidArgument (not a regular file). Bounds must be
  /// positive.
  static Result<JsonRecordReader> open(const std::filesystem::path& path, int64_t max_record_bytes,
                                       int64_t max_depth);

  /// Reads the next record; false at the end. An error means that nothing after it can be cut:
  /// a read failure, or an array whose brackets or commas are wrong (the message names the line).
  Result<bool> next(JsonRecord& record);

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  enum class Layout { kLines, kArray, kEnded };

  JsonRecordReader() = default;
  void fill();
  int peek();
  int get();
  int peek_after_space();
  void skip_byte_order_mark();
  bool next_line(JsonRecord& record);
  Result<bool> next_element(JsonRecord& record);
  bool read_value(std::string& text, bool& too_long);
  Result<bool> structural_error(const char* reason);
  void judge(JsonRecord& record, bool too_long) const;

  std::unique_ptr<std::FILE, CloseFile> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool failed_ = false;
  int64_t line_ = 1;
  int64_t elements_ = 0;
  Layout layout_ = Layout::kLines;
  int64_t max_record_bytes_ = 0;
  int64_t max_depth_ = 0;
};

}  // namespace tunefleet
