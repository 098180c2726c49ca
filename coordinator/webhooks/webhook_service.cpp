#include "coordinator/webhooks/webhook_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int64_t kMsPerSecond = 1000;
constexpr milliseconds kNap{1'000};
/// Looks take at most this part of the time, however many jobs wait, unless one takes seconds.
constexpr int kShareOfTime = 20;
constexpr milliseconds kLongestPause{60'000};

bool is_success(int status) { return status >= 200 && status < 300; }

}  // namespace

WebhookService::WebhookService(WebhookOptions options, std::unique_ptr<WebhookStore> endpoints,
                               WebhookOutbox outbox, EndedJobs ended)
    : options_(std::move(options)),
      endpoints_(std::move(endpoints)),
      outbox_(std::move(outbox)),
      ended_(std::move(ended)),
      sender_(
          options_.guard, [this] { return options_.now_ms() / kMsPerSecond; },
          [this] { return stopping_.load(); }) {
  threads_.emplace_back([this] { run_looking(); });
  for (int i = 0; i < options_.senders; ++i) threads_.emplace_back([this] { run_sending(); });
}

Result<std::unique_ptr<WebhookService>> WebhookService::start(JobStore& jobs,
                                                              WebhookOptions options) {
  const auto now_s = [now_ms = options.now_ms] { return now_ms() / kMsPerSecond; };
  auto endpoints = WebhookStore::open(options.directory, now_s);
  if (!endpoints) return fail(endpoints.error());
  auto outbox = WebhookOutbox::open(options.directory);
  if (!outbox) return fail(outbox.error());
  auto ended = EndedJobs::open(jobs, options.directory / "cursor.json");
  if (!ended) return fail(ended.error());
  return std::unique_ptr<WebhookService>(new WebhookService(
      std::move(options), std::move(*endpoints), std::move(*outbox), std::move(*ended)));
}

WebhookService::~WebhookService() { stop(); }

void WebhookService::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void WebhookService::wake() {
  {
    const std::lock_guard lock(mutex_);
    look_now_ = true;
  }
  changed_.notify_all();
}

void WebhookService::run_looking() {
  std::string told;  // Of a failure that lasts: once.
  while (!stopping_) {
    const auto begun = Clock::now();
    const auto looked = look();
    const std::string failure = looked ? "" : looked.error().message;
    if (failure != told && !failure.empty()) {
      log::warning("the ends of jobs are told later: " + failure);
    }
    told = failure;
    const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - begun);
    const auto rest = looked ? std::min(took * kShareOfTime, kLongestPause) : milliseconds(0);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::max(options_.look_every, rest),
                      [this] { return look_now_ || stopping_; });
    look_now_ = false;
  }
}

Result<bool> WebhookService::follow_lead() {
  const bool leads = !options_.leads || options_.leads();
  {
    const std::lock_guard lock(mutex_);
    if (leads == leading_) return leads;
    if (!leads) {
      leading_ = false;
      waiting_.clear();
      return false;
    }
  }
  if (const auto loaded = ended_.load(); !loaded) return fail(loaded.error());
  const std::lock_guard lock(mutex_);
  waiting_ = outbox_.load();
  leading_ = true;
  changed_.notify_all();
  return true;
}

/// Without an endpoint nothing is looked at, and the cursor goes: an endpoint is told only of what
/// ends after it was made, so a later first look at every job tells nothing too much.
Status WebhookService::look() {
  const auto leads = follow_lead();
  if (!leads) return fail(leads.error());
  if (!*leads) return {};
  if (endpoints_->empty()) return ended_.reset();
  return ended_.look([this](const JobRecord& job) { return enqueue(job); });
}

Status WebhookService::enqueue(const JobRecord& ended) {
  if (!is_told(ended)) return {};
  const WebhookEvent event = event_of(ended);
  for (const WebhookEndpoint& endpoint : endpoints_->list(ended.owner)) {
    const auto& types = endpoint.event_types;
    if (std::find(types.begin(), types.end(), event.type) == types.end()) continue;
    if (event.created_at < endpoint.created_at) continue;
    const std::string id = delivery_id(event, endpoint.id);
    const std::lock_guard lock(mutex_);
    if (waiting_.contains(id)) continue;
    const WebhookDelivery delivery{.id = id,
                                   .owner = ended.owner,
                                   .endpoint = endpoint.id,
                                   .event = event,
                                   .next_attempt_ms = options_.now_ms()};
    if (const auto kept = outbox_.put(delivery); !kept) return kept;
    waiting_.emplace(id, delivery);
    changed_.notify_all();
  }
  return {};
}

void WebhookService::run_sending() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const std::string id = next_delivery(waiting_, busy_owners_, options_.now_ms());
    if (id.empty()) {
      changed_.wait_for(lock, kNap);
      continue;
    }
    const WebhookDelivery delivery = waiting_.at(id);
    busy_owners_.insert(delivery.owner);
    lock.unlock();
    deliver(delivery);
    lock.lock();
    busy_owners_.erase(delivery.owner);
    changed_.notify_all();
  }
}

void WebhookService::deliver(const WebhookDelivery& delivery) {
  const auto endpoint = endpoints_->get(delivery.owner, delivery.endpoint);
  if (!endpoint) return forget(delivery);  // Its owner has removed it.
  const auto status = sender_.send(*endpoint, delivery.id, body_of(delivery.event));
  if (status && is_success(*status)) return forget(delivery);
  if (!status && status.error().code == ErrorCode::kCancelled) return;
  postpone(delivery,
           status ? fmt::format("the endpoint answered {}", *status) : status.error().message);
}

void WebhookService::forget(const WebhookDelivery& delivery) {
  const std::lock_guard lock(mutex_);
  waiting_.erase(delivery.id);
  if (const auto removed = outbox_.remove(delivery.id); !removed) {
    log::warning("a webhook is told once more after a restart: " + removed.error().message);
  }
}

void WebhookService::postpone(WebhookDelivery delivery, const std::string& failure) {
  const std::lock_guard lock(mutex_);
  if (!waiting_.contains(delivery.id)) return;  // Another process sends it by now.
  const auto next = next_attempt_ms(++delivery.attempts, options_.now_ms());
  delivery.next_attempt_ms = next.value_or(0);
  delivery.last_error = failure;
  log::info(fmt::format("a webhook of job {} is {} after attempt {}: {}: {}", delivery.event.job,
                        next ? "tried again" : "given up", delivery.attempts, delivery.endpoint,
                        failure));
  const auto kept = next ? outbox_.put(delivery) : outbox_.abandon(delivery);
  if (!kept) log::warning("a webhook's attempt is not on the disk: " + kept.error().message);
  if (next) {
    waiting_[delivery.id] = std::move(delivery);
  } else {
    waiting_.erase(delivery.id);
  }
}

Result<int> WebhookService::send_test(const WebhookEndpoint& endpoint, const std::string& type) {
  {
    const std::lock_guard lock(mutex_);
    if (!testing_owners_.insert(endpoint.owner).second) {
      return fail(ErrorCode::kResourceExhausted,
                  "another test of yours is under way, wait for its end");
    }
  }
  const int64_t now_ms = options_.now_ms();
  const auto event = sample_event(type, now_ms / kMsPerSecond,
                                  fmt::format("{} {} {}", endpoint.id, now_ms, ++tests_));
  auto status = sender_.send(endpoint, delivery_id(event, endpoint.id), body_of(event));
  const std::lock_guard lock(mutex_);
  testing_owners_.erase(endpoint.owner);
  return status;
}

}  // namespace tunefleet::coordinator
