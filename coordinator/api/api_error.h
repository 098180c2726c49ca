#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/api/http.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// An error as OpenAI's clients parse it: {"error":{message,type,param,code}}.
struct ApiError {
  int status = 500;
  std::string message;
  std::string type = "invalid_request_error";
  std::optional<std::string> param;
  std::optional<std::string> code;
  /// Clients try 408, 409, 429 and 5xx again unless x-should-retry says no.
  bool may_retry = true;
  std::vector<std::pair<std::string, std::string>> headers{};  ///< Of the reply, beside the usual.
};

template <typename T>
using ApiResult = tl::expected<T, ApiError>;

/// The error of a room below as a reply: kInvalidArgument 400, kNotFound 404, kConflict 409 (not to
/// be tried again), kPermissionDenied 401, kResourceExhausted 413, kUnavailable and kTimeout 503,
/// others 500.
ApiError to_api_error(const Error& error);
/// The same, where kResourceExhausted says that an owner's share is used up: 429 with `code`.
/// Waiting does not help, so the client is not to try again by itself.
ApiError to_share_error(const Error& error, const char* code);
ApiError bad_request(std::string message, std::optional<std::string> param = std::nullopt);
ApiError not_found(std::string message, std::optional<std::string> param = std::nullopt);
/// A room's error about the model that a request names: as to_api_error(), and for kNotFound with
/// OpenAI's code, model_not_found.
ApiError unknown_model(const Error& error);
HttpReply error_reply(const ApiError& error);

/// return api_fail(bad_request("…"));
inline tl::unexpected<ApiError> api_fail(ApiError error) {
  return tl::unexpected<ApiError>(std::move(error));
}

}  // namespace tunefleet::coordinator
