#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tunefleet::coordinator {

/// What a key may do. Each scope includes those before it: who may submit may read. Stored and sent
/// by name.
enum class Scope {
  kNone,    ///< Of routes only: no key is needed.
  kRead,    ///< Look at the tenant's files, jobs and models.
  kSubmit,  ///< Also make, change and delete them.
  kAdmin,   ///< Also manage the tenant's keys and who else may use its models.
};

/// "read", "submit", "admin"; "none" for kNone.
std::string_view scope_name(Scope scope);
/// nullopt for a name that no key can have.
std::optional<Scope> scope_from_name(std::string_view name);
/// The names of all scopes that `scope` includes, the least first.
std::vector<std::string> included_scopes(Scope scope);

/// The tenant whose administrators run the service: its admin keys manage every tenant's keys,
/// those of other tenants only their own.
inline constexpr std::string_view kOperatorTenant = "admin";

/// True for 1 to 64 letters, digits, `.`, `_` and `-`, the first of them a letter or digit. Such a
/// name is safe in a Redis key and inside a model's name.
bool is_tenant_name(std::string_view text);

}  // namespace tunefleet::coordinator
