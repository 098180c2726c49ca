#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/api_error.h"
#include "coordinator/api/http.h"
#include "coordinator/api/route_doc.h"

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
  Scope scope = Scope::kAdmin;  ///< What a key must be allowed to do.
  RouteDoc doc{};
};

/// Makes something new of the tenant's: a POST to an address without a variable.
bool is_create(const Route& route);

/// Stands between the addresses and their handlers.
class RouteGuard {
 public:
  virtual ~RouteGuard() = default;
  /// Finds out who asks and whether they may. `route` is null for an address that is not there.
  virtual ApiResult<void> admit(HttpRequest& request, const Route* route) = 0;
  /// Sees every reply before it is sent, those to refused requests too.
  virtual void conclude(const HttpRequest& request, const Route* route, HttpReply& reply) = 0;
};

/// Finds the route and runs its handler. 404 for an unknown address, 405 with Allow for a known one
/// with another method; HEAD is GET without its body. The guard is asked before anything is said.
class Router {
 public:
  Router(std::vector<Route> routes, RouteGuard& guard);
  HttpReply reply_to(HttpRequest& request) const;
  std::vector<const Route*> routes() const;

 private:
  struct Entry {
    Route route;
    std::vector<std::string> segments;
  };
  /// The route, or null and the methods that the address takes, parted by commas.
  const Route* find(HttpRequest& request, std::string& allowed) const;
  ApiReply dispatch(HttpRequest& request, const Route* route, const std::string& allowed) const;

  std::vector<Entry> entries_;
  RouteGuard& guard_;
};

}  // namespace tunefleet::coordinator
