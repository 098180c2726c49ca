#include "coordinator/client/event_stream.h"

namespace tunefleet::coordinator {
namespace {

constexpr size_t kLongestEvent = 4 << 20;

}  // namespace

bool EventStreamReader::feed(std::string_view piece) {
  for (size_t end; (end = piece.find('\n')) != std::string_view::npos;
       piece.remove_prefix(end + 1)) {
    line_ += piece.substr(0, end);
    if (line_.ends_with('\r')) line_.pop_back();
    const bool go_on = take_line(line_);
    line_.clear();
    if (!go_on) return false;
  }
  line_ += piece;
  return line_.size() + data_.size() <= kLongestEvent;
}

bool EventStreamReader::take_line(std::string_view line) {
  if (line.empty()) {
    if (!has_data_) return true;
    const std::string data = std::move(data_);
    data_.clear();
    has_data_ = false;
    return on_data_(data);
  }
  constexpr std::string_view kData = "data:";
  if (!line.starts_with(kData)) return true;
  line.remove_prefix(kData.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += line;
  has_data_ = true;
  return true;
}

}  // namespace tunefleet::coordinator
