#include "tests/coordinator/api/api_fixture.h"

#include <unistd.h>

#include <fstream>
#include <stdexcept>
#include <utility>

namespace tunefleet::coordinator {

using nlohmann::json;

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "tunefleet-api-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::string fake_model_server() { return FAKE_MODEL_SERVER; }

namespace {

/// Receivers of tests are on this machine; nothing else private may be called.
OutboundPolicy webhook_policy() {
  OutboundPolicy policy;
  if (!policy.allow("127.0.0.1")) throw std::runtime_error("the allow-list takes no address");
  return policy;
}

}  // namespace

ApiTest::ApiTest() {
  const auto now_s = [this] { return now_ms_.load() / 1000; };
  for (const char* model : {"SmolLM2-135M-Instruct", "Qwen2.5-0.5B"}) {
    std::filesystem::create_directories(directory_.path() / "models" / model);
    std::ofstream(directory_.path() / "models" / model / "config.json") << "{}";
    std::ofstream(directory_.path() / "models" / model / "model.safetensors") << "no tensors";
  }
  files_ = FileStore::open(directory_.path() / "files", now_s).value();
  uploads_ = UploadStore::open(directory_.path() / "uploads", *files_, now_s).value();
  std::filesystem::create_directories(directory_.path() / "webhooks");
  webhooks_ = WebhookService::start(store_, {.directory = directory_.path() / "webhooks",
                                             .guard = OutboundGuard(webhook_policy()),
                                             .now_ms = [this] { return now_ms_.load(); }})
                  .value();
  keys_ = ApiKeys::open(directory_.path(), now_s).value();
  std::ifstream(keys_->admin_key_path()) >> key_;
  other_key_ = keys_->create({.owner = "someone"})->key;
  models_ = std::make_unique<ModelCatalog>(directory_.path() / "models");
  model_access_ = ModelAccess::open(directory_.path() / "model_access.json", now_s).value();
  serving_ = std::make_unique<ServingPool>(
      ServingOptions{.program = {fake_model_server()}, .log = directory_.path() / "serving.log"});
  serve({});
}

void ApiTest::serve(const RateLimits& limits) {
  server_.reset();
  server_ = ApiServer::start({}, {.jobs = store_,
                                  .sweeps = *sweeps_,
                                  .fleet = fleet_,
                                  .files = *files_,
                                  .uploads = *uploads_,
                                  .webhooks = *webhooks_,
                                  .keys = *keys_,
                                  .models = *models_,
                                  .model_access = *model_access_,
                                  .serving = *serving_,
                                  .jobs_directory = directory_.path() / "jobs",
                                  .audit_path = directory_.path() / "audit.jsonl",
                                  .now_ms = [this] { return now_ms_.load(); },
                                  .wake_sweeps = [this] { ++sweep_wakes_; },
                                  .limits = limits})
                .value();
}

std::string ApiTest::key_of(const std::string& tenant, Scope scope) {
  return keys_->create({.owner = tenant, .scope = scope})->key;
}

httplib::Client ApiTest::client(const std::string& key) {
  httplib::Client client("127.0.0.1", server_->port());
  client.set_default_headers({{"Authorization", "Bearer " + key}});
  client.set_url_encode(false);
  client.set_read_timeout(20);
  return client;
}

json ApiTest::body_of(const httplib::Result& result) {
  if (!result) throw std::runtime_error("no reply: " + httplib::to_string(result.error()));
  EXPECT_TRUE(result->get_header_value("x-request-id").starts_with("req_"));
  return json::parse(result->body);
}

json ApiTest::error_of(const httplib::Result& result, int status) {
  const json body = body_of(result);
  EXPECT_EQ(result->status, status) << body;
  const json error = body.at("error");
  EXPECT_TRUE(error.at("message").is_string() && error.at("type").is_string());
  EXPECT_TRUE(error.contains("param") && error.contains("code"));
  return error;
}

httplib::Result ApiTest::upload(const std::string& content, const std::string& filename,
                                const std::string& purpose) {
  return client().Post("/v1/files", httplib::MultipartFormDataItems{
                                        {"purpose", purpose, "", ""},
                                        {"file", content, filename, "application/octet-stream"}});
}

std::string ApiTest::good_file() {
  return body_of(
             upload("{\"query\":\"a\",\"response\":\"b\"}\n{\"query\":\"c\",\"response\":\"d\"}\n"))
      .at("id");
}

httplib::Result ApiTest::create(const json& body, const httplib::Headers& headers) {
  return client().Post("/v1/fine_tuning/jobs", headers, body.dump(), "application/json");
}

std::string ApiTest::waiting_job(const json& more) {
  json body{{"model", "Qwen2.5-0.5B"}, {"training_file", good_file()}};
  body.update(more);
  const json job = body_of(create(body));
  if (!job.contains("id")) throw std::runtime_error(job.dump());
  return job["id"];
}

void ApiTest::start(const std::string& id) {
  const auto moved = store_.transition(
      id, 0, JobPhase::kQueued, JobPhase::kRunning,
      {.placement = Placement{{.host = "node-a", .ranks = 1}}, .event_message = "started"});
  ASSERT_TRUE(moved) << moved.error().message;
}

void ApiTest::finish(const std::string& id) {
  const auto checkpoint = directory_.path() / "jobs" / id / "checkpoint-7";
  std::filesystem::create_directories(checkpoint);
  const json result{{"checkpoint", checkpoint.string()}, {"step", 7}, {"trained_tokens", 99}};
  const auto moved = store_.transition(id, 1, JobPhase::kRunning, JobPhase::kSucceeded,
                                       {.result = result, .event_message = "finished"});
  ASSERT_TRUE(moved) << moved.error().message;
}

void ApiTest::add_event(const std::string& id, const std::string& type, const std::string& message,
                        const json& data) {
  JobEventRecord event;
  event.level = "info";
  event.type = type;
  event.message = message;
  event.data = data;
  const auto stored = store_.append_event(id, 1, ++events_, event);
  ASSERT_TRUE(stored) << stored.error().message;
}

}  // namespace tunefleet::coordinator
