#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <sstream>

#include "proto/job_tree.h"
#include "proto/job_tree_builder.h"

namespace tunefleet {
namespace {

/// The tag that yaml-cpp gives to a scalar without quotes.
constexpr std::string_view kPlain = "?";

/// Builds the tree from yaml-cpp's events, which know lines, duplicate keys and aliases; its node
/// API hides them.
class YamlEvents : public YAML::EventHandler {
 public:
  JobNode take() { return builder_.take(); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (builder_.done())
      throw TreeException{{line_of(mark), "a second document starts: one file holds one job"}};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    if (key_is_due()) throw TreeException{{line_of(mark), "a key is missing before the colon"}};
    builder_.add_scalar(JobNode::Kind::kNull, {}, line_of(mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse_anchor(mark, 1); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    if (key_is_due()) return builder_.add_key(value, line_of(mark));
    if (tag == kPlain) return builder_.add_plain_text(value, line_of(mark));
    builder_.add_scalar(JobNode::Kind::kText, value, line_of(mark));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(JobNode::Kind::kList, mark, anchor);
  }
  void OnSequenceEnd() override { builder_.end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(JobNode::Kind::kMap, mark, anchor);
  }
  void OnMapEnd() override { builder_.end(); }

 private:
  static int line_of(const YAML::Mark& mark) { return mark.line + 1; }

  bool key_is_due() const { return builder_.in_map() && !builder_.key_known(); }

  void start(JobNode::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    if (key_is_due()) throw TreeException{{line_of(mark), "a list or a map cannot be a key"}};
    builder_.start(kind, line_of(mark));
  }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor == 0) return;
    throw TreeException{
        {line_of(mark),
         "anchors (&) and aliases (*) are not read: write the value out, or quote it"}};
  }

  JobTreeBuilder builder_;
};

}  // namespace

TreeResult read_yaml_tree(std::string_view text) {
  try {
    check_job_text(text);
    std::istringstream stream{std::string(text)};
    YamlEvents events;
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events)) {
    }
    return events.take();
  } catch (const TreeException& refused) {
    return tl::unexpected(refused.error);
  } catch (const YAML::Exception& broken) {
    return tl::unexpected(
        TreeError{broken.mark.line + 1, with_valid_utf8("is not valid YAML: " + broken.msg)});
  }
}

}  // namespace tunefleet
