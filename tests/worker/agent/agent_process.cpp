#include "tests/worker/agent/agent_process.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace tunefleet::agent {

using Clock = std::chrono::steady_clock;

TestDirectory::TestDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "tf-agent-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + pattern);
  path_ = pattern;
}

TestDirectory::~TestDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TestDirectory::script(const std::string& name,
                                            const std::string& body) const {
  const auto path = path_ / name;
  std::ofstream(path) << "#!/bin/bash\n" << body << "\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

AgentProcess::AgentProcess(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{TUNEFLEET_AGENT, "run"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
}

AgentProcess::~AgentProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void AgentProcess::signal(int number) const { ::kill(pid_, number); }

std::optional<int> AgentProcess::wait(std::chrono::milliseconds limit) {
  int status = 0;
  const bool ended = eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, limit);
  if (!ended) return std::nullopt;
  pid_ = -1;
  return status;
}

TestKeys make_test_keys() {
  const auto pair = [] {
    std::array<char, 41> public_key{};
    std::array<char, 41> secret_key{};
    zmq_curve_keypair(public_key.data(), secret_key.data());
    return std::make_pair(std::string(public_key.data()), std::string(secret_key.data()));
  };
  const auto server = pair();
  const auto node = pair();
  return {.server_secret = server.second,
          .server_public = server.first,
          .node_public = node.first,
          .node_secret = node.second};
}

void write_key_file(const std::filesystem::path& file, const TestKeys& keys) {
  std::ofstream(file) << nlohmann::json{{"server_public", keys.server_public},
                                        {"public", keys.node_public},
                                        {"secret", keys.node_secret}};
  std::filesystem::permissions(
      file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

zmq::socket_t bind_router(zmq::context_t& context, const std::string& endpoint,
                          const std::string& server_secret) {
  zmq::socket_t router(context, zmq::socket_type::router);
  router.set(zmq::sockopt::linger, 0);
  router.set(zmq::sockopt::curve_server, true);
  router.set(zmq::sockopt::curve_secretkey, server_secret);
  const bool bound = eventually(
      [&] {
        try {
          router.bind(endpoint);
          return true;
        } catch (const zmq::error_t&) {
          return false;  // The old socket is being closed.
        }
      },
      std::chrono::seconds(5));
  if (!bound) throw std::runtime_error("cannot bind: " + endpoint);
  return router;
}

FakeCoordinator::FakeCoordinator(const std::filesystem::path& key_file)
    : keys_(make_test_keys()), endpoint_("tcp://127.0.0.1:*") {
  write_key_file(key_file, keys_);
  open();
}

void FakeCoordinator::open() {
  router_ = bind_router(context_, endpoint_, keys_.server_secret);
  endpoint_ = router_->get(zmq::sockopt::last_endpoint);
}

void FakeCoordinator::close() { router_.reset(); }

std::optional<wire::Envelope> FakeCoordinator::wait_for(
    const std::function<bool(const wire::Envelope&)>& fits, std::chrono::milliseconds limit) {
  const auto end = Clock::now() + limit;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) return std::nullopt;
    zmq::pollitem_t item{router_->handle(), 0, ZMQ_POLLIN, 0};
    if (zmq::poll(&item, 1, left) == 0) continue;
    zmq::message_t peer;
    zmq::message_t body;
    if (!router_->recv(peer) || !router_->recv(body)) continue;
    wire::Envelope envelope;
    if (!envelope.ParseFromArray(body.data(), static_cast<int>(body.size()))) continue;
    peer_ = peer.to_string();
    if (fits(envelope)) return envelope;
  }
}

std::optional<wire::GangEnded> FakeCoordinator::wait_for_end(std::chrono::milliseconds limit,
                                                             bool acknowledge) {
  const auto found =
      wait_for([](const wire::Envelope& envelope) { return envelope.has_gang_ended(); }, limit);
  if (!found) return std::nullopt;
  if (acknowledge) {
    wire::Envelope ack;
    ack.mutable_ack()->set_sequence(found->sequence());
    send(std::move(ack));
  }
  return found->gang_ended();
}

void FakeCoordinator::send(wire::Envelope envelope) {
  envelope.set_version(1);
  envelope.set_sequence(++sequence_);
  router_->send(zmq::buffer(peer_), zmq::send_flags::sndmore);
  router_->send(zmq::buffer(envelope.SerializeAsString()), zmq::send_flags::none);
}

std::vector<pid_t> processes_with(const std::string& variable) {
  std::vector<pid_t> found;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    pid_t pid = 0;
    const auto [stop, bad] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (bad != std::errc() || stop != name.data() + name.size()) continue;
    std::ifstream in(entry->path() / "environ", std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();  // Empty when the process ends meanwhile.
    const std::string environment = text.str();
    if (environment.find(variable + '\0') != environment.npos) found.push_back(pid);
  }
  return found;
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto end = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace tunefleet::agent
