#include "worker/data/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "worker/data/utf8.h"

namespace tunefleet::data {
namespace {

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word_character(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;  // the join controls
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

/// Start of the last character of `text`, which is not empty.
size_t last_boundary(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (text[at] & 0xC0) == 0x80) --at;
  return at;
}

size_t skip_space_before(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t at = last_boundary(text.substr(0, end));
    if (!is_white_space(code_point_at(text, at).value)) break;
    end = at;
  }
  return end;
}

size_t skip_space_after(std::string_view text, size_t at) {
  while (at < text.size()) {
    const auto [value, bytes] = code_point_at(text, at);
    if (!is_white_space(value)) break;
    at += bytes;
  }
  return at;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  const bool touches_before =
      begin > 0 &&
      is_word_character(code_point_at(text, last_boundary(text.substr(0, begin))).value);
  const bool touches_after = end < text.size() && is_word_character(code_point_at(text, end).value);
  return !touches_before && !touches_after;
}

bool within(std::span<const TextRange> ranges, size_t at) {
  const auto after = std::ranges::upper_bound(ranges, at, {}, &TextRange::begin);
  return after != ranges.begin() && at < std::prev(after)->end;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher() : nodes_(1) {}

void AddedTokenMatcher::add(const AddedToken& token, std::string_view content) {
  if (content.empty()) return;
  int32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
      nodes_[static_cast<size_t>(node)].children.emplace_back(byte, next);
    }
    node = next;
  }
  starts_[static_cast<unsigned char>(content.front())] = true;
  nodes_[static_cast<size_t>(node)].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

int32_t AddedTokenMatcher::child(int32_t node, unsigned char byte) const {
  for (const auto& [label, next] : nodes_[static_cast<size_t>(node)].children) {
    if (label == byte) return next;
  }
  return -1;
}

size_t AddedTokenMatcher::next_candidate(std::string_view text, size_t from) const {
  while (from < text.size() && !starts_[static_cast<unsigned char>(text[from])]) ++from;
  return from;
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(std::string_view text, size_t at) const {
  Match longest;
  int32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    node = child(node, static_cast<unsigned char>(text[i]));
    if (node < 0) break;
    const int32_t token = nodes_[static_cast<size_t>(node)].token;
    if (token >= 0) longest = {token, i + 1};
  }
  return longest;
}

std::vector<Fragment> AddedTokenMatcher::split(std::string_view text,
                                               std::span<const TextRange> literal) const {
  std::vector<Fragment> fragments;
  size_t covered = 0;
  for (size_t at = next_candidate(text, 0); at < text.size(); at = next_candidate(text, at)) {
    const Match match = longest_at(text, at);
    if (match.token < 0) {
      ++at;
      continue;
    }
    const auto& token = tokens_[static_cast<size_t>(match.token)];
    size_t begin = at;
    size_t end = match.end;
    at = match.end;
    if (token.special && within(literal, begin)) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(skip_space_before(text, begin), covered);
    if (token.rstrip) end = skip_space_after(text, end);
    if (covered < begin) fragments.push_back({-1, {covered, begin}});
    fragments.push_back({token.id, {begin, end}});
    covered = end;
  }
  if (covered < text.size()) fragments.push_back({-1, {covered, text.size()}});
  return fragments;
}

std::vector<AddedToken> added_tokens_from_json(const nlohmann::json& config) {
  std::vector<AddedToken> tokens;
  for (const auto& entry : config) {
    AddedToken token;
    token.id = entry.at("id").get<int32_t>();
    token.content = entry.at("content").get<std::string>();
    token.special = entry.value("special", false);
    token.single_word = entry.value("single_word", false);
    token.lstrip = entry.value("lstrip", false);
    token.rstrip = entry.value("rstrip", false);
    token.normalized = entry.value("normalized", !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace tunefleet::data
