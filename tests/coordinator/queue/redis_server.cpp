#include "tests/coordinator/queue/redis_server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "coordinator/queue/job_store.h"

namespace tunefleet::coordinator {

RedisServer::RedisServer() {
  std::string pattern = (std::filesystem::temp_directory_path() / "tf-redis-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + pattern);
  directory_ = pattern;
  socket_ = directory_ / "redis.sock";
  start();
}

RedisServer::~RedisServer() {
  kill();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void RedisServer::start() {
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, STDOUT_FILENO);
    ::execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_.c_str(),
             "--dir", directory_.c_str(), "--save", "", "--appendonly", "yes", "--appendfsync",
             "always", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!open_redis_job_store(url())) {
    if (std::chrono::steady_clock::now() > limit) {
      throw std::runtime_error("redis-server did not start: " + socket_.string());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void RedisServer::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RedisServer::freeze(bool frozen) { ::kill(pid_, frozen ? SIGSTOP : SIGCONT); }

}  // namespace tunefleet::coordinator
