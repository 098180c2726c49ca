#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/scheduler/plan_input.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

/// Reads what each tenant may use, from YAML:
///
///   vision: {weight: 2, max_slots: 16}     # twice the share of the others, at most 16 slots at
///   once interns: {max_slots: 4}
///
/// A tenant is the owner of an API key (`tunefleet keys create --tenant`). One that is not named
/// has weight 1 and no limit. kInvalidArgument names every wrong line of `source`.
Result<std::vector<TenantPolicy>> tenant_policies_of(std::string_view yaml,
                                                     const std::string& source);
/// The same of a file; kNotFound and so on when it cannot be read.
Result<std::vector<TenantPolicy>> read_tenant_policies(const std::filesystem::path& file);

}  // namespace tunefleet::coordinator
