#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tunefleet::serve {

/// Cuts an answer before the first of some texts that is complete, while it comes in pieces. What
/// may be the beginning of such a text is held back until it is known whether it is one.
class StopText {
 public:
  /// Empty texts are left out.
  explicit StopText(std::vector<std::string> stops);

  /// What may be shown after `piece` has come.
  std::string push(std::string_view piece);
  /// What was held back, when the answer ends without any of the texts.
  std::string finish();
  /// True when one of the texts has come: nothing more is to be shown.
  bool found() const { return found_; }

 private:
  size_t first_stop() const;
  size_t beginning_of_a_stop() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace tunefleet::serve
