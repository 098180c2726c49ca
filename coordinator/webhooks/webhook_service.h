#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/outbound/outbound_guard.h"
#include "coordinator/queue/job_store.h"
#include "coordinator/webhooks/ended_jobs.h"
#include "coordinator/webhooks/webhook_outbox.h"
#include "coordinator/webhooks/webhook_sender.h"
#include "coordinator/webhooks/webhook_store.h"
#include "proto/result.h"

namespace tunefleet::coordinator {

struct WebhookOptions {
  std::filesystem::path directory{};  ///< Must be there, and be private.
  OutboundGuard guard{OutboundPolicy{}};
  std::function<int64_t()> now_ms{};  ///< Unix milliseconds.
  /// Whether this process is the one of several that looks and sends; empty: always. Any thread.
  std::function<bool()> leads{};
  int senders = 4;  ///< Calls under way at the same time.
  std::chrono::milliseconds look_every{1'000};
};

/// Tells users' endpoints when their jobs end: at least once, signed, with retries over two days.
///   job store --EndedJobs--> outbox (durable) --senders--> endpoint
/// One thread looks for ended jobs while there is an endpoint, several send. Any thread may call.
/// Of several processes on one directory the one that leads does both, from what lies on the disk
/// when it begins to lead; a delivery that is under way while the lead changes may be made twice.
class WebhookService {
 public:
  /// `jobs` outlives it. Goes on with what the outbox holds.
  static Result<std::unique_ptr<WebhookService>> start(JobStore& jobs, WebhookOptions options);
  ~WebhookService();

  WebhookStore& endpoints() { return *endpoints_; }
  /// Whether the URL may be an endpoint's: kInvalidArgument with the reason.
  Status check_url(const std::string& url) const { return sender_.check_url(url); }
  /// Sends a sample event at once and returns the reply's status. One at a time for each owner:
  /// kResourceExhausted for a second.
  Result<int> send_test(const WebhookEndpoint& endpoint, const std::string& type);
  /// Looks for ended jobs and due deliveries now.
  void wake();
  /// Ends calls under way; what is not delivered stays in the outbox. Idempotent.
  void stop();

 private:
  WebhookService(WebhookOptions options, std::unique_ptr<WebhookStore> endpoints,
                 WebhookOutbox outbox, EndedJobs ended);

  /// Follows the lead; whether there is anything to do here.
  Result<bool> follow_lead();
  void run_looking();
  void run_sending();
  Status look();
  Status enqueue(const JobRecord& ended);
  void deliver(const WebhookDelivery& delivery);
  /// Nothing is left to do for it.
  void forget(const WebhookDelivery& delivery);
  /// It is tried again later, or given up.
  void postpone(WebhookDelivery delivery, const std::string& failure);

  const WebhookOptions options_;
  const std::unique_ptr<WebhookStore> endpoints_;
  const WebhookOutbox outbox_;
  EndedJobs ended_;  ///< Belongs to the looking thread.
  std::atomic<bool> stopping_{false};
  const WebhookSender sender_;
  std::atomic<int64_t> tests_{0};

  std::mutex mutex_;  ///< Guards what follows.
  std::condition_variable changed_;
  bool look_now_ = false;
  bool leading_ = false;
  std::map<std::string, WebhookDelivery> waiting_;
  std::set<std::string> busy_owners_;
  std::set<std::string> testing_owners_;

  std::vector<std::thread> threads_;  // Last: they use the others.
};

}  // namespace tunefleet::coordinator
