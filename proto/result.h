#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace tunefleet {

/// What went wrong, as a caller can act on it. Stored and sent over the wire: never renumber.
enum class ErrorCode {
  kInvalidArgument = 1,   ///< The user's input is wrong; trying again will not help.
  kNotFound = 2,          ///< The named thing is not there (or not visible to this caller).
  kConflict = 3,          ///< The state does not allow it: a late message, a second terminal write.
  kPermissionDenied = 4,  ///< No key, a wrong key, or a file that may not be read.
  kResourceExhausted = 5,  ///< Memory, disk, a quota or a size limit.
  kDataLoss = 6,     ///< A file is truncated, altered or otherwise not what its checksum says.
  kUnavailable = 7,  ///< A service or host does not answer; trying again may help.
  kTimeout = 8,      ///< It took longer than its bound.
  kCancelled = 9,    ///< Someone asked for it to stop.
  kInternal = 10,    ///< Our own invariant broke.
};

/// The code's name as it is sent and logged: "invalid_argument", "not_found", …
std::string_view error_code_name(ErrorCode code);
/// The code of that name; kInternal for a name that is not ours.
ErrorCode error_code_from_name(std::string_view name);

/// A failure that was to be expected. `message` is for people: fixed text first, values last, with
/// the file, line, key, tensor or job it is about and, where there is one, the way out.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// return fail(ErrorCode::kNotFound, fmt::format("no such model: {}", name));
inline tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}
/// Hands an error on unchanged, or with `context` before its message ("loading model X: …").
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }
inline tl::unexpected<Error> fail(std::string_view context, const Error& error) {
  return tl::unexpected<Error>(Error{error.code, std::string(context) + ": " + error.message});
}

}  // namespace tunefleet
