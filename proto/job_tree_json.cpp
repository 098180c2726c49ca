#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "proto/job_tree.h"
#include "proto/job_tree_builder.h"

namespace tunefleet {
namespace {

using nlohmann::json;

/// Walks over the text and counts the lines: the events of nlohmann's parser carry no position.
class CountingIterator {
 public:
  using difference_type = std::ptrdiff_t;
  using value_type = char;
  using pointer = const char*;
  using reference = const char&;
  using iterator_category = std::input_iterator_tag;

  CountingIterator(const char* at, int* line) : at_(at), line_(line) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    if (*at_ == '\n') ++*line_;
    ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  int* line_;
};

/// Builds the tree from the parser's events, so that lines and duplicate keys are seen.
class JsonEvents : public nlohmann::json_sax<json> {
 public:
  JsonEvents(std::string_view text, const int* line) : text_(text), line_(line) {}
  JobNode take() { return builder_.take(); }

  bool null() override { return scalar(JobNode::Kind::kNull, "null"); }
  bool boolean(bool value) override {
    return scalar(JobNode::Kind::kBool, value ? "true" : "false");
  }
  bool number_integer(number_integer_t value) override {
    return scalar(JobNode::Kind::kNumber, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return scalar(JobNode::Kind::kNumber, std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& written) override {
    return scalar(JobNode::Kind::kNumber, written);
  }
  bool string(string_t& value) override { return scalar(JobNode::Kind::kText, value); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return start(JobNode::Kind::kMap); }
  bool key(string_t& value) override {
    builder_.add_key(value, *line_);
    return true;
  }
  bool end_object() override { return end(); }
  bool start_array(std::size_t) override { return start(JobNode::Kind::kList); }
  bool end_array() override { return end(); }
  bool parse_error(std::size_t position, const std::string&,
                   const json::exception& error) override {
    const auto end = text_.begin() + static_cast<std::ptrdiff_t>(std::min(position, text_.size()));
    const auto line = 1 + std::count(text_.begin(), end, '\n');
    // "[json.exception.parse_error.101] parse error at line 2, column 1: syntax error …"
    const std::string_view what = error.what();
    const size_t colon = what.find(": ");
    const auto reason = colon == std::string_view::npos ? what : what.substr(colon + 2);
    throw TreeException{
        {static_cast<int>(line), with_valid_utf8(fmt::format("is not valid JSON: {}", reason))}};
  }

 private:
  bool scalar(JobNode::Kind kind, std::string value) {
    builder_.add_scalar(kind, std::move(value), *line_);
    return true;
  }
  bool start(JobNode::Kind kind) {
    builder_.start(kind, *line_);
    return true;
  }
  bool end() {
    builder_.end();
    return true;
  }

  std::string_view text_;
  const int* line_;
  JobTreeBuilder builder_;
};

}  // namespace

TreeResult read_json_tree(std::string_view text) {
  int line = 1;
  JsonEvents events(text, &line);
  try {
    check_job_text(text);
    const CountingIterator begin(text.data(), &line), end(text.data() + text.size(), &line);
    json::sax_parse(begin, end, &events);
    return events.take();
  } catch (const TreeException& refused) {
    return tl::unexpected(refused.error);
  }
}

}  // namespace tunefleet
