#include "coordinator/client/progress_bar.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "coordinator/client/json_fields.h"
#include "coordinator/client/text_format.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kWidestBar = 32;
constexpr size_t kNarrowestBar = 12;

std::string waiting_text(const json& job) {
  std::string text = text_at(job, "status");
  const auto position = whole_at(job, "queue_position");
  const std::string reason = printable(text_at(job, "pending_reason"));
  if (position) text += fmt::format(": position {}", *position);
  if (!reason.empty()) text += (position ? ", " : ": ") + reason;
  return text;
}

/// The parts behind the bar, the most important first.
std::vector<std::string> training_parts(const json& progress) {
  std::vector<std::string> parts;
  const auto step = whole_at(progress, "step").value_or(0);
  parts.push_back(fmt::format("step {}/{}", step, whole_at(progress, "max_steps").value_or(0)));
  const auto add = [&](const char* key, auto text_of) {
    const auto value = number_at(progress, key);
    if (value && *value > 0) parts.push_back(text_of(*value));
  };
  add("loss", [](double value) { return fmt::format("loss {:.3f}", value); });
  add("learning_rate", [](double value) { return fmt::format("lr {:.1e}", value); });
  add("tokens_per_s", [](double value) { return compact_number(value) + " tok/s"; });
  add("remaining_s", [](double value) { return duration_text(value) + " left"; });
  const std::string phase = printable(text_at(progress, "phase"));
  if (!phase.empty() && phase != "training") parts.push_back(phase);
  return parts;
}

std::string running_text(const json& job, size_t width) {
  const json progress = field_at(job, "progress");
  const std::string agent = printable(text_at(job, "agent"));
  const double total = number_at(progress, "max_steps").value_or(0);
  if (total <= 0) {
    const std::string phase = printable(text_at(progress, "phase"));
    const std::string doing = phase.empty() ? "starting the ranks" : phase;
    return agent.empty() ? "running: " + doing : fmt::format("running on {}: {}", agent, doing);
  }
  std::string text;
  for (const auto& part : training_parts(progress)) {
    if (display_width(text) + part.size() + 1 + kNarrowestBar > width) break;
    text += " " + part;
  }
  const size_t left = width > display_width(text) ? width - display_width(text) : 0;
  if (left < kNarrowestBar) return text.empty() ? text : text.substr(1);
  return render_bar(number_at(progress, "step").value_or(0), total, std::min(left, kWidestBar)) +
         text;
}

}  // namespace

std::string render_bar(double done, double total, size_t width) {
  if (width < 3) return {};
  const size_t cells = width - 2;
  const double part = total > 0 ? std::clamp(done / total, 0.0, 1.0) : 0.0;
  const auto full = static_cast<size_t>(part * static_cast<double>(cells));
  return "[" + std::string(full, '#') + std::string(cells - full, '-') + "]";
}

std::string render_progress(const json& job, size_t width) {
  const std::string status = text_at(job, "status");
  std::string text = status == "running" ? running_text(job, width) : waiting_text(job);
  if (flag_at(job, "cancel_requested") && status == "running") text = "stopping " + text;
  return cut_to_width(text, width);
}

}  // namespace tunefleet::coordinator
