#include "coordinator/api/api_scope.h"

#include <algorithm>
#include <array>

namespace tunefleet::coordinator {
namespace {

constexpr std::array<Scope, 3> kOfKeys{Scope::kRead, Scope::kSubmit, Scope::kAdmin};
constexpr size_t kMaxTenantName = 64;

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string_view scope_name(Scope scope) {
  switch (scope) {
    case Scope::kRead:
      return "read";
    case Scope::kSubmit:
      return "submit";
    case Scope::kAdmin:
      return "admin";
    case Scope::kNone:
      break;
  }
  return "none";
}

std::optional<Scope> scope_from_name(std::string_view name) {
  for (const Scope scope : kOfKeys) {
    if (scope_name(scope) == name) return scope;
  }
  return std::nullopt;
}

std::vector<std::string> included_scopes(Scope scope) {
  std::vector<std::string> names;
  for (const Scope each : kOfKeys) {
    if (each <= scope) names.emplace_back(scope_name(each));
  }
  return names;
}

bool is_tenant_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxTenantName && is_alphanumeric(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

}  // namespace tunefleet::coordinator
