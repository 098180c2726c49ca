#include "coordinator/api/page.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"

namespace tunefleet::coordinator {
namespace {

constexpr int64_t kMaxPage = 100;

}  // namespace

ApiReply page_reply(std::vector<nlohmann::json> items, const HttpRequest& request,
                    int64_t default_limit) {
  const auto limit = query_number(request, "limit", default_limit, 1, kMaxPage);
  if (!limit) return api_fail(limit.error());
  auto first = items.begin();
  if (const auto after = request.query_value("after"); after && !after->empty()) {
    first = std::find_if(items.begin(), items.end(),
                         [&](const nlohmann::json& item) { return item.at("id") == *after; });
    if (first == items.end()) return api_fail(not_found("no such item: " + *after, "after"));
    ++first;
  }
  const auto last = first + std::min<int64_t>(*limit, std::distance(first, items.end()));
  const bool has_more = last != items.end();
  std::vector<nlohmann::json> page(std::make_move_iterator(first), std::make_move_iterator(last));
  return json_reply(to_openai_page(std::move(page), has_more));
}

}  // namespace tunefleet::coordinator
