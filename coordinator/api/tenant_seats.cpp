#include "coordinator/api/tenant_seats.h"

namespace tunefleet::coordinator {

std::shared_ptr<void> TenantSeats::take(const std::string& tenant) {
  {
    const std::lock_guard lock(taken_->mutex);
    size_t& seats = taken_->seats[tenant];
    if (limit_ > 0 && seats >= limit_) return nullptr;
    ++seats;
  }
  const auto give_back = [taken = taken_, tenant](void*) {
    const std::lock_guard lock(taken->mutex);
    const auto found = taken->seats.find(tenant);
    if (--found->second == 0) taken->seats.erase(found);
  };
  return {taken_.get(), give_back};
}

}  // namespace tunefleet::coordinator
