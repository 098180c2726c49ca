#include "proto/job_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "proto/job_tree_builder.h"

namespace tunefleet {
namespace {

/// Bytes of the UTF-8 sequence that starts with `lead`; 0 when none does.
size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

/// The second byte's bounds exclude overlong forms, surrogates and code points past U+10FFFF.
bool second_byte_fits(unsigned char lead, unsigned char second) {
  switch (lead) {
    case 0xE0:
      return second >= 0xA0;
    case 0xED:
      return second <= 0x9F;
    case 0xF0:
      return second >= 0x90;
    case 0xF4:
      return second <= 0x8F;
    default:
      return true;
  }
}

/// Where the first byte stands that is not part of valid UTF-8; npos when all are.
size_t first_invalid_byte(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = sequence_length(lead);
    if (length == 0 || i + length > text.size()) return i;
    for (size_t k = 1; k < length; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if ((byte & 0xC0) != 0x80) return i;
      if (k == 1 && !second_byte_fits(lead, byte)) return i;
    }
    i += length;
  }
  return std::string_view::npos;
}

constexpr std::string_view kNotUtf8 = "text is not valid UTF-8: save the file as UTF-8";

/// Values in messages are cut to what fits a line.
std::string shortened(std::string_view text) {
  constexpr size_t kShown = 60;
  if (text.size() <= kShown) return std::string(text);
  size_t end = kShown;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "…";
}

void add_json(JobTreeBuilder& builder, const nlohmann::json& value) {
  using Kind = JobNode::Kind;
  if (value.is_null()) return builder.add_scalar(Kind::kNull, "null", 0);
  if (value.is_boolean())
    return builder.add_scalar(Kind::kBool, value.get<bool>() ? "true" : "false", 0);
  if (value.is_number()) return builder.add_scalar(Kind::kNumber, value.dump(), 0);
  if (value.is_string()) return builder.add_scalar(Kind::kText, value.get<std::string>(), 0);
  if (!value.is_structured())
    throw TreeException{{0, "holds binary data, which a job has no use for"}};
  builder.start(value.is_array() ? Kind::kList : Kind::kMap, 0);
  for (const auto& item : value.items()) {
    if (value.is_object()) builder.add_key(item.key(), 0);
    add_json(builder, item.value());
  }
  builder.end();
}

/// A finite number or a boolean where `text` is one, else the text.
nlohmann::json json_of_scalar(const std::string& text) {
  const char* end = text.data() + text.size();
  int64_t whole = 0;
  if (const auto read = std::from_chars(text.data(), end, whole);
      read.ec == std::errc{} && read.ptr == end)
    return whole;
  double number = 0;
  if (const auto read = std::from_chars(text.data(), end, number);
      read.ec == std::errc{} && read.ptr == end && std::isfinite(number))
    return number;
  for (const auto yes : {"true", "True", "TRUE"}) {
    if (text == yes) return true;
  }
  for (const auto no : {"false", "False", "FALSE"}) {
    if (text == no) return false;
  }
  return text;
}

}  // namespace

std::string describe(const JobNode& node) {
  switch (node.kind) {
    case JobNode::Kind::kNull:
      return "nothing";
    case JobNode::Kind::kBool:
      return node.text;
    case JobNode::Kind::kNumber:
      return fmt::format("the number {}", shortened(node.text));
    case JobNode::Kind::kText:
      return fmt::format("`{}`", shortened(node.text));
    case JobNode::Kind::kList:
      return fmt::format("a list of {} values", node.children.size());
    case JobNode::Kind::kMap:
      return fmt::format("a map of {} keys", node.children.size());
  }
  return "something unknown";
}

void check_job_text(std::string_view text) {
  if (text.size() > kLongestJobText) {
    throw TreeException{{0, fmt::format("is longer than a job may be, {} bytes", kLongestJobText)}};
  }
  const size_t invalid = first_invalid_byte(text);
  if (invalid == std::string_view::npos) return;
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(invalid);
  const auto line = 1 + std::count(text.begin(), end, '\n');
  throw TreeException{{static_cast<int>(line), std::string(kNotUtf8)}};
}

std::string with_valid_utf8(std::string text) {
  for (size_t at; (at = first_invalid_byte(text)) != std::string::npos;) text[at] = '?';
  return text;
}

void JobTreeBuilder::check_text(const std::string& text, int line) const {
  if (first_invalid_byte(text) != std::string::npos)
    throw TreeException{{line, std::string(kNotUtf8)}};
  if (text.find('\0') != std::string::npos)
    throw TreeException{{line, "text holds a NUL character"}};
}

void JobTreeBuilder::add_key(std::string key, int line) {
  check_text(key, line);
  key_ = std::move(key);
  key_line_ = line;
  key_known_ = true;
}

void JobTreeBuilder::add_scalar(JobNode::Kind kind, std::string text, int line) {
  check_text(text, line);
  attach({.kind = kind, .key = {}, .text = std::move(text), .children = {}, .line = line});
}

void JobTreeBuilder::add_plain_text(std::string text, int line) {
  check_text(text, line);
  attach({.kind = JobNode::Kind::kText,
          .key = {},
          .text = std::move(text),
          .children = {},
          .line = line,
          .plain = true});
}

void JobTreeBuilder::start(JobNode::Kind kind, int line) {
  if (open_.size() == kDeepestJob) {
    throw TreeException{{line, fmt::format("is nested deeper than {} levels", kDeepestJob)}};
  }
  const int shown_line = in_map() ? key_line_ : line;
  open_.push_back({.kind = kind, .key = {}, .text = {}, .children = {}, .line = shown_line});
  key_of_.push_back(std::exchange(key_, {}));
  key_known_ = false;
}

void JobTreeBuilder::end() {
  JobNode node = std::move(open_.back());
  open_.pop_back();
  key_ = std::move(key_of_.back());
  key_of_.pop_back();
  key_line_ = node.line;
  attach(std::move(node));
}

void JobTreeBuilder::attach(JobNode node) {
  if (open_.empty()) {
    root_ = std::move(node);
    done_ = true;
    return;
  }
  if (in_map()) {
    node.key = std::exchange(key_, {});
    node.line = key_line_;
    key_known_ = false;
  }
  open_.back().children.push_back(std::move(node));
}

nlohmann::json json_of_tree(const JobNode& node) {
  switch (node.kind) {
    case JobNode::Kind::kNull:
      return nullptr;
    case JobNode::Kind::kBool:
      return node.text == "true";
    case JobNode::Kind::kNumber:
      return json_of_scalar(node.text);
    case JobNode::Kind::kText:
      return node.plain ? json_of_scalar(node.text) : nlohmann::json(node.text);
    case JobNode::Kind::kList: {
      auto list = nlohmann::json::array();
      for (const auto& child : node.children) list.push_back(json_of_tree(child));
      return list;
    }
    case JobNode::Kind::kMap: {
      auto object = nlohmann::json::object();
      for (const auto& child : node.children) object[child.key] = json_of_tree(child);
      return object;
    }
  }
  return nullptr;
}

TreeResult tree_of_json(const nlohmann::json& value) {
  try {
    JobTreeBuilder builder;
    add_json(builder, value);
    return builder.take();
  } catch (const TreeException& refused) {
    return tl::unexpected(refused.error);
  }
}

}  // namespace tunefleet
