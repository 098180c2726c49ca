#include "coordinator/webhooks/webhook_outbox.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "proto/log.h"
#include "storage/atomic_file.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr unsigned kMode = 0600;
constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr const char* kExtension = ".json";

std::string to_text(const WebhookDelivery& delivery) {
  const json stored{{"id", delivery.id},
                    {"owner", delivery.owner},
                    {"endpoint", delivery.endpoint},
                    {"event",
                     {{"id", delivery.event.id},
                      {"type", delivery.event.type},
                      {"job", delivery.event.job},
                      {"created_at", delivery.event.created_at}}},
                    {"attempts", delivery.attempts},
                    {"next_attempt_ms", delivery.next_attempt_ms},
                    {"last_error", delivery.last_error}};
  return stored.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

WebhookDelivery from_text(const std::string& text) {
  const json stored = json::parse(text);
  const json& event = stored.at("event");
  return {.id = stored.at("id"),
          .owner = stored.at("owner"),
          .endpoint = stored.at("endpoint"),
          .event = {.id = event.at("id"),
                    .type = event.at("type"),
                    .job = event.at("job"),
                    .created_at = event.at("created_at")},
          .attempts = stored.at("attempts"),
          .next_attempt_ms = stored.at("next_attempt_ms"),
          .last_error = stored.at("last_error")};
}

fs::path file_of(const fs::path& directory, const std::string& id) {
  return directory / (id + kExtension);
}

}  // namespace

Result<WebhookOutbox> WebhookOutbox::open(const fs::path& directory) {
  WebhookOutbox outbox(directory);
  for (const auto& folder : {outbox.waiting_, outbox.abandoned_}) {
    std::error_code error;
    fs::create_directory(folder, error);
    if (error) return storage::fail_os("cannot make the directory", folder, error);
  }
  return outbox;
}

std::map<std::string, WebhookDelivery> WebhookOutbox::load() const {
  std::map<std::string, WebhookDelivery> waiting;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(waiting_, error)) {
    if (entry.path().extension() != kExtension) {
      fs::remove(entry.path(), error);  // Of a write that was interrupted.
      continue;
    }
    try {
      const auto text = storage::read_small_file(entry.path(), kMaxFileBytes);
      if (!text) throw std::runtime_error(text.error().message);
      WebhookDelivery delivery = from_text(*text);
      if (delivery.id != entry.path().stem()) throw std::runtime_error("it names another delivery");
      waiting.emplace(delivery.id, std::move(delivery));
    } catch (const std::exception& failure) {
      log::warning(fmt::format("a webhook delivery cannot be read: {}: {}", entry.path().string(),
                               failure.what()));
    }
  }
  return waiting;
}

Status WebhookOutbox::put(const WebhookDelivery& delivery) const {
  return storage::write_file_atomically(file_of(waiting_, delivery.id), to_text(delivery), kMode);
}

Status WebhookOutbox::remove(const std::string& id) const {
  const auto path = file_of(waiting_, id);
  std::error_code error;
  fs::remove(path, error);
  if (error) return storage::fail_os("cannot remove the delivery", path, error);
  return {};
}

Status WebhookOutbox::abandon(const WebhookDelivery& delivery) const {
  const auto kept =
      storage::write_file_atomically(file_of(abandoned_, delivery.id), to_text(delivery), kMode);
  if (!kept) return kept;
  return remove(delivery.id);
}

}  // namespace tunefleet::coordinator
