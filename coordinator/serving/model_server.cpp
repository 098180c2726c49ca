#include "coordinator/serving/model_server.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "proto/log.h"

namespace tunefleet::coordinator {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kWriteLimit{5'000};
constexpr milliseconds kLook{100};
constexpr milliseconds kEndLimit{2'000};  // From the end of its stdin to its own end.
constexpr size_t kLongestLine = 4 << 20;

}  // namespace

Result<std::unique_ptr<ModelServer>> ModelServer::start(std::vector<std::string> program,
                                                        const std::filesystem::path& base,
                                                        const std::filesystem::path& log,
                                                        Listener listener) {
  program.insert(program.end(), {"--model", base.string()});
  auto process = ServedProcess::start(program, log);
  if (!process) return fail("starting a model's server", process.error());
  return std::unique_ptr<ModelServer>(new ModelServer(std::move(*process), std::move(listener)));
}

ModelServer::ModelServer(std::unique_ptr<ServedProcess> process, Listener listener)
    : process_(std::move(process)), listener_(std::move(listener)), reader_([this] { read(); }) {}

ModelServer::~ModelServer() {
  ending_ = true;
  process_->close_input();
  reader_.join();
}

Status ModelServer::send(const ServeOrder& order) {
  return process_->write(to_line(order), kWriteLimit);
}

void ModelServer::read() {
  std::string text;
  auto deadline = Clock::time_point::max();
  for (;;) {
    const auto more = process_->read(kLook);
    if (!more || text.size() > kLongestLine) break;
    text += *more;
    take_lines(text);
    if (ending_ && deadline == Clock::time_point::max()) deadline = Clock::now() + kEndLimit;
    if (Clock::now() > deadline) process_->kill();
  }
  listener_.on_end(process_->wait_or_kill(kEndLimit));
}

void ModelServer::take_lines(std::string& text) const {
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    auto reply = parse_serve_reply(std::string_view(text).substr(begin, end - begin));
    if (reply) {
      listener_.on_reply(std::move(*reply));
    } else {
      log::error("a model's server says what is no reply: " + reply.error().message);
    }
  }
  text.erase(0, begin);
}

}  // namespace tunefleet::coordinator
