#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/api_error.h"
#include "coordinator/api/http.h"

namespace tunefleet::coordinator {

/// What a handler gives: a reply, or an error that becomes one.
using ApiReply = ApiResult<HttpReply>;
using ApiHandler = std::function<ApiReply(HttpRequest&)>;

/// One address: "/v1/fine_tuning/jobs/{id}/events". {id} matches one segment, decoded after the
/// split, so that an encoded slash stays inside it.
struct Route {
  std::string_view method;
  std::string_view pattern;
  ApiHandler handler;
  bool needs_key = true;
};

/// Finds the route and runs its handler. 404 for an unknown address, 405 with Allow for a known one
/// with another method. HEAD is GET without its body. `authenticate` runs before anything else is
/// said, except where a route needs no key.
class Router {
 public:
  using Authenticate = std::function<ApiResult<std::string>(const HttpRequest&)>;

  Router(std::vector<Route> routes, Authenticate authenticate);
  HttpReply reply_to(HttpRequest& request) const;

 private:
  struct Entry {
    Route route;
    std::vector<std::string> segments;
  };
  ApiReply dispatch(HttpRequest& request) const;

  std::vector<Entry> entries_;
  Authenticate authenticate_;
};

}  // namespace tunefleet::coordinator
