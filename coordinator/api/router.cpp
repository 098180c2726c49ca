#include "coordinator/api/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace tunefleet::coordinator {
namespace {

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const size_t end = std::min(path.find('/'), path.size());
    segments.emplace_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  if (!segments.empty() && segments.back().empty()) segments.pop_back();  // a final slash
  return segments;
}

bool is_variable(const std::string& segment) { return !segment.empty() && segment[0] == '{'; }

/// Fills `values` with the decoded segments that stand for {names}; false when the path is another.
bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path,
             std::map<std::string, std::string>& values) {
  if (pattern.size() != path.size()) return false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (!is_variable(pattern[i])) {
      if (pattern[i] != path[i]) return false;
      continue;
    }
    auto decoded = percent_decode(path[i]);
    if (!decoded || decoded->empty()) return false;
    values[pattern[i].substr(1, pattern[i].size() - 2)] = std::move(*decoded);
  }
  return true;
}

}  // namespace

bool is_create(const Route& route) {
  return route.method == "POST" && route.pattern.find('{') == std::string_view::npos;
}

Router::Router(std::vector<Route> routes, RouteGuard& guard) : guard_(guard) {
  for (auto& route : routes) {
    auto segments = split_path(route.pattern);
    entries_.push_back({std::move(route), std::move(segments)});
  }
}

HttpReply Router::reply_to(HttpRequest& request) const {
  std::string allowed;
  const Route* route = find(request, allowed);
  HttpReply reply;
  try {
    ApiReply answer = dispatch(request, route, allowed);
    reply = answer ? std::move(*answer) : error_reply(answer.error());
  } catch (...) {
    reply.status = 500;
    guard_.conclude(request, route, reply);
    throw;
  }
  guard_.conclude(request, route, reply);
  return reply;
}

std::vector<const Route*> Router::routes() const {
  std::vector<const Route*> all;
  for (const Entry& entry : entries_) all.push_back(&entry.route);
  return all;
}

const Route* Router::find(HttpRequest& request, std::string& allowed) const {
  if (!request.raw_path.starts_with('/')) return nullptr;
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  const auto path = split_path(request.raw_path);
  // A word of the address is no id: GET /jobs/plan asks for no job.
  const bool literal = std::any_of(entries_.begin(), entries_.end(),
                                   [&](const Entry& entry) { return entry.segments == path; });
  for (const Entry& entry : entries_) {
    std::map<std::string, std::string> values;
    if (!matches(entry.segments, path, values)) continue;
    if (literal && entry.segments != path) continue;
    allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", entry.route.method);
    if (entry.route.method != method) continue;
    request.path_values = std::move(values);
    return &entry.route;
  }
  return nullptr;
}

ApiReply Router::dispatch(HttpRequest& request, const Route* route,
                          const std::string& allowed) const {
  if (const auto admitted = guard_.admit(request, route); !admitted) {
    return api_fail(admitted.error());
  }
  if (route != nullptr) return route->handler(request);
  const std::string asked = fmt::format("{} {}", request.method, request.raw_path);
  if (allowed.empty()) return api_fail(not_found("no such address: " + asked));
  ApiError error = bad_request(fmt::format("this address takes {} only: {}", allowed, asked));
  error.status = 405;
  HttpReply reply = error_reply(error);
  reply.headers.emplace_back("Allow", allowed);
  return reply;
}

}  // namespace tunefleet::coordinator
