#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "proto/result.h"

namespace tunefleet::coordinator {

/// One part's headers. `filename` is what the client wrote: text, never a path.
struct MultipartPart {
  std::string name;
  std::optional<std::string> filename;
};

/// What happens with the parts; an error stops the reading and is handed on.
struct MultipartVisitor {
  std::function<Status(const MultipartPart& part)> begin;
  std::function<Status(std::string_view piece)> data;
  std::function<Status()> end;
};

/// Reads multipart/form-data (RFC 7578) as it arrives, holding at most one piece and one part's
/// headers.
///   preamble --boundary--> headers --blank line--> data --boundary--> headers | epilogue
/// kInvalidArgument for anything malformed, too many parts, or headers over 8 KiB.
class MultipartReader {
 public:
  /// The boundary of a Content-Type header; kInvalidArgument when it is not multipart/form-data
  /// with one.
  static Result<std::string> boundary_of(std::string_view content_type);

  MultipartReader(const std::string& boundary, MultipartVisitor visitor);

  Status feed(std::string_view piece);
  /// The body has ended: kInvalidArgument when its last boundary has not been seen.
  Status finish() const;

 private:
  enum class Where { kPreamble, kHeaders, kData, kAfterBoundary, kEpilogue };

  Result<bool> step();
  Result<bool> read_after_boundary();
  Result<bool> read_headers();
  Result<bool> read_data();

  const std::string delimiter_;  ///< "\r\n--" + boundary
  MultipartVisitor visitor_;
  Where where_ = Where::kPreamble;
  std::string held_ =
      "\r\n";  ///< Received, not yet used; the first boundary may lack its line break.
  int parts_ = 0;
};

}  // namespace tunefleet::coordinator
