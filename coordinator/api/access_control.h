#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "coordinator/api/api_keys.h"
#include "coordinator/api/audit_log.h"
#include "coordinator/api/rate_limiter.h"
#include "coordinator/api/router.h"
#include "coordinator/api/tenant_seats.h"

namespace tunefleet::coordinator {

/// How often somebody may ask. What a busy client does by itself stays below.
struct RateLimits {
  RateLimit requests{.per_second = 500, .burst = 1000};  ///< Of one key.
  RateLimit creates{.per_second = 100, .burst = 1000};   ///< Of one key, beside `requests`.
  RateLimit wrong_keys{.per_second = 1, .burst = 20};    ///< From one remote address.
  size_t at_once = 128;  ///< Requests of one tenant that are being answered; 0: no limit.
};

/// Lets a request through to its handler, or not, and writes down what happened:
///
///   key known? --401--> within the limits? --429--> scope? --403--> handler --> audit log
///
/// A right key is let in however many wrong ones came from the same address: behind a proxy one
/// client could lock out all others, and 256 bits are not guessed. Any thread.
class AccessControl final : public RouteGuard {
 public:
  AccessControl(const ApiKeys& keys, const RateLimits& limits, AuditLogOptions audit,
                std::function<int64_t()> now_ms);

  ApiResult<void> admit(HttpRequest& request, const Route* route) override;
  void conclude(const HttpRequest& request, const Route* route, HttpReply& reply) override;

 private:
  ApiResult<void> authenticate(HttpRequest& request);
  ApiResult<void> refuse_key(const HttpRequest& request, ApiError error);
  ApiResult<void> seat(HttpRequest& request);
  ApiResult<void> spend(HttpRequest& request, const Route* route);

  const ApiKeys& keys_;
  RateLimiter requests_;
  RateLimiter creates_;
  RateLimiter wrong_keys_;
  TenantSeats seats_;
  AuditLog audit_;
};

}  // namespace tunefleet::coordinator
