#include "coordinator/api/api_error.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

json text_or_null(const std::optional<std::string>& text) { return text ? json(*text) : json(); }

}  // namespace

ApiError to_api_error(const Error& error) {
  ApiError api{.status = 500,
               .message = error.message,
               .type = "server_error",
               .param = std::nullopt,
               .code = std::string(error_code_name(error.code)),
               .may_retry = true};
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kDataLoss:
      return bad_request(error.message);
    case ErrorCode::kNotFound:
      return not_found(error.message);
    case ErrorCode::kConflict:
      api.status = 409;
      api.type = "invalid_request_error";
      api.may_retry = false;
      return api;
    case ErrorCode::kPermissionDenied:
      api.status = 401;
      api.type = "invalid_request_error";
      return api;
    case ErrorCode::kResourceExhausted:
      api.status = 413;
      api.type = "invalid_request_error";
      return api;
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
      api.status = 503;
      api.type = "service_unavailable_error";
      return api;
    case ErrorCode::kCancelled:
    case ErrorCode::kInternal:
      break;
  }
  return api;
}

ApiError to_share_error(const Error& error, const char* code) {
  ApiError api = to_api_error(error);
  if (error.code == ErrorCode::kResourceExhausted) {
    api.status = 429;
    api.code = code;
    api.may_retry = false;
  }
  return api;
}

ApiError bad_request(std::string message, std::optional<std::string> param) {
  return {.status = 400,
          .message = std::move(message),
          .type = "invalid_request_error",
          .param = std::move(param),
          .code = std::nullopt,
          .may_retry = true};
}

ApiError not_found(std::string message, std::optional<std::string> param) {
  ApiError error = bad_request(std::move(message), std::move(param));
  error.status = 404;
  error.code = "not_found";
  return error;
}

ApiError unknown_model(const Error& error) {
  ApiError api = to_api_error(error);
  if (error.code == ErrorCode::kNotFound) {
    api.param = "model";
    api.code = "model_not_found";
  }
  return api;
}

HttpReply error_reply(const ApiError& error) {
  HttpReply reply;
  reply.status = error.status;
  const json body{{"error",
                   {{"message", error.message},
                    {"type", error.type},
                    {"param", text_or_null(error.param)},
                    {"code", text_or_null(error.code)}}}};
  reply.body = body.dump(-1, ' ', false, json::error_handler_t::replace);
  reply.headers = error.headers;
  if (!error.may_retry) reply.headers.emplace_back("x-should-retry", "false");
  return reply;
}

}  // namespace tunefleet::coordinator
