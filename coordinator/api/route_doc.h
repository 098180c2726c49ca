#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace tunefleet::coordinator {

/// A parameter behind the question mark.
struct QueryParameter {
  std::string_view name{};
  std::string_view description{};
  std::string_view type = "string";  ///< As JSON Schema names it.
  int64_t low = std::numeric_limits<int64_t>::min();
  int64_t high = std::numeric_limits<int64_t>::max();
  std::vector<std::string_view> allowed{};  ///< Of a text; empty: any.
};

/// What the OpenAPI document tells of a route; it stands beside the route's handler. Schemas are
/// named as in openapi_schemas.cpp; an empty name is no JSON: no body, or bytes of the media type.
struct RouteDoc {
  std::string_view summary{};  ///< One sentence without a full stop.
  std::string_view reply{};    ///< Schema of the 200 reply.
  std::string_view request{};  ///< Schema of the body.
  bool may_lack_body = false;
  bool may_stream = false;  ///< The reply is server-sent events when the client asks for them.
  std::vector<QueryParameter> query{};
  std::string_view request_type = "application/json";
  std::string_view reply_type = "application/json";
};

}  // namespace tunefleet::coordinator
