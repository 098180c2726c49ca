#pragma once

#include <httplib.h>

#include <atomic>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/client/service_address.h"

namespace tunefleet::coordinator {

/// A service of this process on a free port that answers as a test says: one job, its events and
/// its log.
class FakeService {
 public:
  FakeService() {
    server_.set_pre_routing_handler(
        [this](const httplib::Request& request, httplib::Response& response) {
          if (request.get_header_value("Authorization") == "Bearer right-key")
            return httplib::Server::HandlerResponse::Unhandled;
          refuse(response, 401, "Incorrect API key provided");
          return httplib::Server::HandlerResponse::Handled;
        });
    add_routes();
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~FakeService() {
    stopping_ = true;
    server_.stop();
    thread_.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  ServiceAddress address() const { return {.url = url(), .key = "right-key"}; }

  /// The one job there is.
  void set_job(nlohmann::json job) {
    const std::lock_guard lock(mutex_);
    job["id"] = "ftjob-1";
    job["object"] = "fine_tuning.job";
    job_ = std::move(job);
  }
  void add_event(const std::string& message, nlohmann::json data = nullptr,
                 const std::string& type = "message") {
    const std::lock_guard lock(mutex_);
    const std::string id = "ftevent-" + std::to_string(events_.size() + 1);
    events_.push_back({{"id", id},
                       {"object", "fine_tuning.job.event"},
                       {"created_at", 1'700'000'000},
                       {"level", "info"},
                       {"message", message},
                       {"type", type},
                       {"data", std::move(data)}});
  }
  /// Breaks each stream after that many events.
  void break_streams_after(size_t events) { stream_length_ = events; }
  void fail_next_creates(int count) { failing_creates_ = count; }
  void set_log(std::string text) { log_ = std::move(text); }

  std::vector<nlohmann::json> created() {
    const std::lock_guard lock(mutex_);
    return created_;
  }
  std::map<std::string, std::string> uploads() {
    const std::lock_guard lock(mutex_);
    return uploads_;
  }

 private:
  static void refuse(httplib::Response& response, int status, const std::string& message) {
    response.status = status;
    response.set_content(nlohmann::json{{"error", {{"message", message}, {"type", "x"}}}}.dump(),
                         "application/json");
  }
  static void answer(httplib::Response& response, const nlohmann::json& body) {
    response.set_content(body.dump(), "application/json");
  }

  void add_routes() {
    server_.Get("/v1/models", [](const auto&, auto& response) {
      answer(response, {{"data", {{{"id", "base"}, {"created", 1}}}}});
    });
    server_.Get("/v1/fleet", [](const auto&, auto& response) {
      answer(response,
             {{"agents", {{{"host", "node-1"}, {"slots", 2}, {"alive", true}}}}, {"queued", 3}});
    });
    server_.Post("/v1/keys", [](const auto& request, auto& response) {
      nlohmann::json key = nlohmann::json::parse(request.body);
      key.update({{"id", "key-1"}, {"key", "tf-new"}, {"expires_at", nullptr}});
      answer(response, key);
    });
    server_.Get("/v1/keys", [](const auto& request, auto& response) {
      if (request.get_param_value("tenant") == "none") {
        return refuse(response, 403, "it needs the scope admin, the key has read");
      }
      const bool first = !request.has_param("after");
      answer(response, {{"data", {{{"id", first ? "key-2" : "key-1"}, {"tenant", "acme"}}}},
                        {"has_more", first}});
    });
    server_.Delete("/v1/keys/key-1", [](const auto&, auto& response) {
      answer(response, {{"id", "key-1"}, {"deleted", true}});
    });
    server_.Post("/v1/chat/completions",
                 [](const auto& request, auto& response) { chat(request, response); });
    server_.Get("/v1/fine_tuning/jobs",
                [this](const auto& request, auto& response) { list(request, response); });
    server_.Post("/v1/fine_tuning/jobs",
                 [this](const auto& request, auto& response) { create(request, response); });
    server_.Post("/v1/files",
                 [this](const auto& request, auto& response) { upload(request, response); });
    server_.Get("/v1/fine_tuning/jobs/ftjob-1/events",
                [this](const auto& request, auto& response) { stream(request, response); });
    server_.Get("/v1/fine_tuning/jobs/ftjob-1/logs", [this](const auto& request, auto& response) {
      const size_t offset =
          std::min<size_t>(std::stoul(request.get_param_value("offset")), log_.size());
      const std::string piece = log_.substr(offset, 10);
      response.set_header("x-next-offset", std::to_string(offset + piece.size()));
      response.set_content(piece, "text/plain");
    });
    server_.Post("/v1/fine_tuning/jobs/ftjob-1/cancel",
                 [this](const auto&, auto& response) { show(response); });
    server_.Get("/v1/fine_tuning/jobs/ftjob-1",
                [this](const auto&, auto& response) { show(response); });
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (response.body.empty()) refuse(response, response.status, "no such job: nobody");
    });
  }

  /// Says the last message back in two chunks; "break" ends after the first, "die" with an error.
  static void chat(const httplib::Request& request, httplib::Response& response) {
    const auto body = nlohmann::json::parse(request.body);
    if (body["model"] == "unknown") return refuse(response, 404, "no such model: unknown");
    const std::string said = body["messages"].back()["content"];
    const auto chunk = [](const std::string& text) {
      const nlohmann::json choice{{"index", 0}, {"delta", {{"content", text}}}};
      return "data: " + nlohmann::json{{"choices", nlohmann::json::array({choice})}}.dump() +
             "\n\n";
    };
    std::string text = ": ping\n\n" + chunk("you said ");
    if (said == "die") text += "data: {\"error\":{\"message\":\"the model's server died\"}}\n\n";
    if (said != "die" && said != "break") text += chunk(said) + "data: [DONE]\n\n";
    response.set_content(text, "text/event-stream");
  }

  void show(httplib::Response& response) {
    const std::lock_guard lock(mutex_);
    answer(response, job_);
  }

  /// Five jobs, two a page at most.
  void list(const httplib::Request& request, httplib::Response& response) {
    int first = 1;
    if (request.has_param("after"))
      first = std::stoi(request.get_param_value("after").substr(6)) + 1;
    const int limit = std::min(2, std::stoi(request.get_param_value("limit")));
    nlohmann::json data = nlohmann::json::array();
    for (int i = first; i <= 5 && i < first + limit; ++i)
      data.push_back({{"id", "ftjob-" + std::to_string(i)}, {"status", "queued"}});
    const bool has_more = first + limit <= 5;
    answer(response, {{"data", data}, {"has_more", has_more}});
  }

  void create(const httplib::Request& request, httplib::Response& response) {
    const std::lock_guard lock(mutex_);
    if (failing_creates_-- > 0) return refuse(response, 503, "the job store does not answer");
    nlohmann::json body = nlohmann::json::parse(request.body);
    if (body["model"] == "unknown") return refuse(response, 404, "no such model: unknown");
    body["idempotency_key"] = request.get_header_value("Idempotency-Key");
    created_.push_back(std::move(body));
    answer(response, job_);
  }

  void upload(const httplib::Request& request, httplib::Response& response) {
    const std::lock_guard lock(mutex_);
    const auto file = request.get_file_value("file");
    EXPECT_EQ(request.get_file_value("purpose").content, "fine-tune");
    uploads_[file.filename] = file.content;
    answer(response, {{"id", "file-" + file.filename}, {"status", "processed"}});
  }

  void stream(const httplib::Request& request, httplib::Response& response) {
    size_t next = 0;
    if (request.has_param("after")) next = std::stoul(request.get_param_value("after").substr(8));
    response.set_chunked_content_provider(
        "text/event-stream",
        [this, next, sent = size_t{0}](size_t, httplib::DataSink& sink) mutable {
          while (!stopping_) {
            std::unique_lock lock(mutex_);
            const bool is_final = job_["status"] != "running" && job_["status"] != "queued";
            if (sent == stream_length_) return false;
            if (next < events_.size()) {
              const std::string text = ": ping\n\ndata: " + events_[next++].dump() + "\n\n";
              ++sent;
              return sink.write(text.data(), text.size());
            }
            if (is_final) {
              const std::string text = "data: [DONE]\n\n";
              sink.write(text.data(), text.size());
              sink.done();
              return true;
            }
            lock.unlock();
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
          }
          return false;
        });
  }

  httplib::Server server_;
  int port_ = 0;
  std::mutex mutex_;
  nlohmann::json job_ = {{"id", "ftjob-1"}, {"status", "queued"}};
  std::vector<nlohmann::json> events_;
  std::vector<nlohmann::json> created_;
  std::map<std::string, std::string> uploads_;
  std::string log_;
  size_t stream_length_ = SIZE_MAX;
  int failing_creates_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace tunefleet::coordinator
