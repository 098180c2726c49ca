#include "worker/data/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "worker/data/normalizer.h"
#include "worker/data/unicode_tables.h"
#include "worker/data/utf8.h"

namespace tunefleet::data {
namespace {

using Behavior = PreTokenizer::Behavior;

/// How GPT-2 cuts words; ByteLevel's own pattern.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct NamedBehavior {
  std::string_view name;
  Behavior behavior;
};
constexpr std::array kBehaviors{
    NamedBehavior{"Removed", Behavior::kRemoved},
    NamedBehavior{"Isolated", Behavior::kIsolated},
    NamedBehavior{"MergedWithPrevious", Behavior::kMergedWithPrevious},
    NamedBehavior{"MergedWithNext", Behavior::kMergedWithNext},
    NamedBehavior{"Contiguous", Behavior::kContiguous},
};

Result<Behavior> behavior_named(std::string_view name) {
  for (const auto& entry : kBehaviors) {
    if (entry.name == name) return entry.behavior;
  }
  return fail(ErrorCode::kInvalidArgument, fmt::format("unknown behavior of a split: {}", name));
}

std::string punctuation_pattern() {
  return fmt::format(R"((?![{}])[\p{{P}}!-/:-@\[-`{{-~{}])", kNotPunctuation, kOtherPunctuation);
}

struct Piece {
  TextRange range;
  bool is_match = false;
};

/// The matches and what lies between them, in order; together they are the text.
Status find_pieces(const Regex& pattern, std::string_view text, bool invert,
                   std::vector<Piece>& pieces) {
  size_t covered = 0;
  for (size_t at = 0; at < text.size();) {
    const auto match = pattern.find(text, at);
    if (!match) return fail(match.error());
    if (!*match) break;
    const auto [begin, end] = **match;
    if (covered < begin) pieces.push_back({{covered, begin}, invert});
    if (begin < end) pieces.push_back({{begin, end}, !invert});
    covered = end;
    at = end > begin || end == text.size() ? end : end + code_point_at(text, end).bytes;
  }
  if (covered < text.size()) pieces.push_back({{covered, text.size()}, invert});
  return {};
}

/// Joins pieces in place, as the behaviour says; kRemoved drops the matches.
void join_pieces(std::vector<Piece>& pieces, Behavior behavior) {
  const auto is_match = [](const Piece& piece) { return piece.is_match; };
  if (behavior == Behavior::kRemoved) std::erase_if(pieces, is_match);
  if (behavior == Behavior::kRemoved || behavior == Behavior::kIsolated) return;
  const bool to_next = behavior == Behavior::kMergedWithNext;
  if (to_next) std::ranges::reverse(pieces);
  std::vector<Piece> joined;
  bool previous_match = false;
  for (const auto& piece : pieces) {
    const bool joins = behavior == Behavior::kContiguous ? piece.is_match == previous_match
                                                         : piece.is_match && !previous_match;
    previous_match = piece.is_match;
    if (!joins || joined.empty()) {
      joined.push_back(piece);
    } else if (to_next) {
      joined.back().range.begin = piece.range.begin;
    } else {
      joined.back().range.end = piece.range.end;
    }
  }
  if (to_next) std::ranges::reverse(joined);
  pieces = std::move(joined);
}

}  // namespace

Result<PreTokenizer> PreTokenizer::from_json(const nlohmann::json& config) {
  PreTokenizer pre_tokenizer;
  if (auto status = pre_tokenizer.add(config); !status) return fail(status.error());
  if (!pre_tokenizer.byte_level_) {
    return fail(ErrorCode::kInvalidArgument,
                "only byte-level tokenizers are supported: the pre_tokenizer has no ByteLevel");
  }
  return pre_tokenizer;
}

Status PreTokenizer::add(const nlohmann::json& config) {
  if (config.is_null()) return {};
  const auto type = config.at("type").get<std::string>();
  if (byte_level_) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("pre_tokenizer after ByteLevel: {}", type));
  }
  if (type == "Sequence") {
    for (const auto& part : config.at("pretokenizers")) {
      if (auto status = add(part); !status) return status;
    }
    return {};
  }
  if (type == "ByteLevel") return add_byte_level(config);
  if (type == "Digits") {
    return add_split(
        fmt::format(R"([\p{{N}}{}])", kOtherDigits),
        config.at("individual_digits").get<bool>() ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "WhitespaceSplit") return add_split(R"(\s)", Behavior::kRemoved);
  if (type != "Split" && type != "Punctuation") {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("unknown pre_tokenizer: {}; known: ByteLevel, Split, Digits, "
                            "Punctuation, WhitespaceSplit, Sequence",
                            type));
  }
  const auto behavior = behavior_named(config.value("behavior", "Isolated"));
  if (!behavior) return fail(behavior.error());
  if (type == "Punctuation") return add_split(punctuation_pattern(), *behavior);
  auto pattern = pattern_from_json(config.at("pattern"));
  if (!pattern) return fail(pattern.error());
  steps_.emplace_back(Split{std::move(*pattern), *behavior, config.value("invert", false)});
  return {};
}

Status PreTokenizer::add_byte_level(const nlohmann::json& config) {
  byte_level_ = true;
  if (config.value("add_prefix_space", true)) steps_.emplace_back(PrefixSpace{});
  return config.value("use_regex", true) ? add_split(kGpt2Pattern, Behavior::kIsolated) : Status{};
}

Status PreTokenizer::add_split(std::string_view pattern, Behavior behavior) {
  auto regex = Regex::compile(pattern);
  if (!regex) return fail(regex.error());
  steps_.emplace_back(Split{std::move(*regex), behavior, false});
  return {};
}

Status PreTokenizer::split(std::string_view text, Words& words) const {
  words.owned.clear();
  words.words.assign(1, text);
  std::vector<std::string_view> pieces;
  for (const auto& step : steps_) {
    const auto* split = std::get_if<Split>(&step);
    if (!split) {
      for (auto& word : words.words) {
        if (!word.starts_with(' ')) word = words.owned.emplace_back(" " + std::string(word));
      }
      continue;
    }
    pieces.clear();
    for (const auto word : words.words) {
      if (auto status = run(*split, word, pieces); !status) return status;
    }
    std::swap(pieces, words.words);
  }
  return {};
}

Status PreTokenizer::run(const Split& split, std::string_view text,
                         std::vector<std::string_view>& words) {
  thread_local std::vector<Piece> pieces;
  pieces.clear();
  if (auto status = find_pieces(split.pattern, text, split.invert, pieces); !status) return status;
  join_pieces(pieces, split.behavior);
  for (const auto& piece : pieces) {
    words.push_back(text.substr(piece.range.begin, piece.range.end - piece.range.begin));
  }
  return {};
}

}  // namespace tunefleet::data
