#include "coordinator/outbound/resolver.h"

#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <utility>

namespace tunefleet::coordinator {
namespace {

constexpr std::chrono::seconds kLimit{5};

Result<std::vector<IpAddress>> look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int failure = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, [](addrinfo* list) {
    if (list != nullptr) ::freeaddrinfo(list);
  });
  if (failure != 0) {
    return fail(
        failure == EAI_AGAIN ? ErrorCode::kUnavailable : ErrorCode::kNotFound,
        fmt::format("the host's name has no address: {}: {}", host, ::gai_strerror(failure)));
  }
  std::vector<IpAddress> addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    const auto address = IpAddress::from_sockaddr(entry->ai_addr);
    if (address && std::find(addresses.begin(), addresses.end(), *address) == addresses.end()) {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

}  // namespace

Result<std::vector<IpAddress>> resolve_by_system(const std::string& host) {
  // getaddrinfo cannot be interrupted: a thread of its own outlives a caller that no longer waits,
  // for as long as resolv.conf lets it try.
  std::packaged_task<Result<std::vector<IpAddress>>()> task([host] { return look_up(host); });
  auto answer = task.get_future();
  std::thread(std::move(task)).detach();
  if (answer.wait_for(kLimit) == std::future_status::ready) return answer.get();
  return fail(ErrorCode::kTimeout,
              fmt::format("no name server answered within 5 s for the host: {}", host));
}

}  // namespace tunefleet::coordinator
