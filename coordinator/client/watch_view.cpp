#include "coordinator/client/watch_view.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "coordinator/client/json_fields.h"
#include "coordinator/client/progress_bar.h"
#include "coordinator/client/text_format.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

size_t terminal_width(std::FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

std::string clock_text(int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm local{};
  localtime_r(&time, &local);
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

/// A metrics line of training alone: on a terminal the bar says the same.
bool only_moves_the_bar(const json& event) {
  return text_at(event, "type") == "metrics" && !field_at(event, "data").contains("eval_loss");
}

std::string loss_text(const json& result) {
  const auto before = number_at(result, "eval_loss_before");
  const auto after = number_at(result, "eval_loss");
  if (before && after)
    return fmt::format("  held-out loss  {:.4f} before, {:.4f} after\n", *before, *after);
  if (after) return fmt::format("  held-out loss  {:.4f}\n", *after);
  const auto train = number_at(result, "train_loss");
  return train ? fmt::format("  training loss  {:.4f}\n", *train) : std::string();
}

std::string effort_text(const json& result) {
  std::string text;
  if (const auto steps = whole_at(result, "step")) text += fmt::format(", {} steps", *steps);
  if (const auto tokens = number_at(result, "trained_tokens"))
    text += fmt::format(", {} tokens", compact_number(*tokens));
  if (const auto seconds = number_at(result, "seconds"))
    text += fmt::format(", {}", duration_text(*seconds));
  if (text_at(result, "stopped_by") == "max_minutes") text += ", stopped by max_minutes";
  return text;
}

std::string failure_text(const json& job) {
  const std::string id = text_at(job, "id");
  std::string text =
      fmt::format("{} failed: {}\n", id, printable(text_at(field_at(job, "error"), "message")));
  const json failure = field_at(job, "failure");
  if (const auto rank = whole_at(failure, "rank"); rank && *rank >= 0) {
    text += fmt::format("  rank {} on {}: {}\n", *rank, printable(text_at(failure, "host")),
                        printable(text_at(failure, "message")));
  }
  return text + fmt::format("  what the ranks printed: tunefleet logs {}\n", id);
}

class TerminalView : public WatchView {
 public:
  explicit TerminalView(std::FILE* out) : out_(out) {}
  ~TerminalView() override { leave(); }

  void show_event(const json& event) override {
    if (!only_moves_the_bar(event)) write_above(event_line(event));
  }
  void show_job(const json& job) override { draw(render_progress(job, terminal_width(out_) - 1)); }
  void show_trouble(const std::string& message) override {
    draw(cut_to_width("connecting again: " + printable(message), terminal_width(out_) - 1));
  }
  void show_end(const json& job) override {
    leave();
    fmt::print(out_, "{}", end_text(job));
    std::fflush(out_);
  }
  void leave() override { draw({}); }

 private:
  /// \r goes to the first column, ESC [ K clears to the end of the line (ECMA-48, EL).
  void draw(const std::string& line) {
    if (line == line_) return;
    fmt::print(out_, "\r\x1b[K{}", line);
    std::fflush(out_);
    line_ = line;
  }
  void write_above(const std::string& text) {
    const std::string line = line_;
    leave();
    fmt::print(out_, "{}\n", text);
    draw(line);
  }

  std::FILE* out_;
  std::string line_;
};

class PlainView : public WatchView {
 public:
  explicit PlainView(std::FILE* out) : out_(out) {}

  void show_event(const json& event) override { write(event_line(event)); }
  void show_job(const json& job) override {
    if (text_at(job, "status") == "running") return;
    const std::string state = render_progress(job, kWidth);
    if (state != state_ && !field_at(job, "queue_position").is_null()) write(state);
    state_ = state;
  }
  void show_trouble(const std::string& message) override {
    if (message != trouble_) fmt::print(stderr, "connecting again: {}\n", printable(message));
    trouble_ = message;
  }
  void show_end(const json& job) override { write(end_text(job), ""); }

 private:
  static constexpr size_t kWidth = 200;

  void write(const std::string& text, const char* end = "\n") {
    trouble_.clear();
    fmt::print(out_, "{}{}", text, end);
    std::fflush(out_);
  }

  std::FILE* out_;
  std::string state_;
  std::string trouble_;
};

class JsonView : public WatchView {
 public:
  explicit JsonView(std::FILE* out) : out_(out) {}

  void show_event(const json& event) override { write(event); }
  void show_job(const json& job) override {
    if (job != last_) write(job);
    last_ = job;
  }
  void show_trouble(const std::string&) override {}
  void show_end(const json& job) override { write(job); }

 private:
  void write(const json& value) {
    fmt::print(out_, "{}\n", to_line(value));
    std::fflush(out_);
  }

  std::FILE* out_;
  json last_;
};

}  // namespace

std::string event_line(const json& event) {
  const std::string level = text_at(event, "level");
  const std::string mark = level == "error" || level == "warn" ? level + ": " : "";
  return fmt::format("{} {}{}", clock_text(whole_at(event, "created_at").value_or(0)), mark,
                     printable(text_at(event, "message")));
}

std::string end_text(const json& job) {
  const std::string status = text_at(job, "status"), id = text_at(job, "id");
  if (status == "failed") return failure_text(job);
  const json result = field_at(job, "result");
  std::string text = fmt::format("{} {}{}\n", id, status, effort_text(result)) + loss_text(result);
  const auto add = [&](std::string_view label, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<15}{}\n", label, printable(value));
  };
  add("checkpoint", text_at(result, "checkpoint"));
  add("model", text_at(job, "fine_tuned_model"));
  return text;
}

std::unique_ptr<WatchView> make_terminal_view(std::FILE* out) {
  return std::make_unique<TerminalView>(out);
}
std::unique_ptr<WatchView> make_plain_view(std::FILE* out) {
  return std::make_unique<PlainView>(out);
}
std::unique_ptr<WatchView> make_json_view(std::FILE* out) {
  return std::make_unique<JsonView>(out);
}

}  // namespace tunefleet::coordinator
