#pragma once

#include <string>
#include <vector>

#include "proto/job_tree.h"

namespace tunefleet {

/// Thrown inside the readers of a tree only; never leaves them.
struct TreeException {
  TreeError error;
};

/// Throws TreeException for text that is too long or not valid UTF-8: what is left can be quoted in
/// messages.
void check_job_text(std::string_view text);

/// A parser's message, which may quote half a character, as valid UTF-8.
std::string with_valid_utf8(std::string text);

/// Puts a tree together from the events of a parser: scalars, and the starts and ends of lists and
/// maps. Refuses too deep nesting and text that is not valid UTF-8 by TreeException.
class JobTreeBuilder {
 public:
  void add_key(std::string key, int line);
  void add_scalar(JobNode::Kind kind, std::string text, int line);
  void add_plain_text(std::string text, int line);
  void start(JobNode::Kind kind, int line);
  void end();

  bool in_map() const { return !open_.empty() && open_.back().kind == JobNode::Kind::kMap; }
  /// In a map: a value is due, because its key is known.
  bool key_known() const { return key_known_; }
  bool done() const { return done_; }
  JobNode take() { return std::move(root_); }

 private:
  void attach(JobNode node);
  void check_text(const std::string& text, int line) const;

  std::vector<JobNode> open_;        ///< From the root to the innermost list or map not ended.
  std::vector<std::string> key_of_;  ///< Key of each entry of open_.
  std::string key_;
  int key_line_ = 0;
  bool key_known_ = false;
  bool done_ = false;
  JobNode root_;
};

}  // namespace tunefleet
