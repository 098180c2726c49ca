#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "worker/data/regex.h"

namespace tunefleet::data {

/// The "normalizer" of a tokenizer.json: rewrites text before it is split. Knows NFC, NFD, NFKC,
/// NFKD, Lowercase, Prepend, Replace and Sequence; null changes nothing. Safe to use from several
/// threads.
class Normalizer {
 public:
  /// kInvalidArgument: a type that is not known (the message lists those that are). Throws
  /// nlohmann::json::exception when a field is missing or of another type.
  static Result<Normalizer> from_json(const nlohmann::json& config);

  /// Whether every text stays as it is.
  bool changes_nothing() const { return steps_.empty(); }

  /// The rewritten text; `text` must be valid UTF-8.
  Result<std::string> normalize(std::string_view text) const;

 private:
  struct UnicodeForm {
    int options = 0;  ///< utf8proc's.
  };
  struct Lowercase {};
  struct Prepend {
    std::string text;
  };
  struct Replace {
    Regex pattern;
    std::string content;
  };
  using Step = std::variant<UnicodeForm, Lowercase, Prepend, Replace>;

  Status add(const nlohmann::json& config);
  static Result<std::string> run(const Step& step, std::string_view text);

  std::vector<Step> steps_;
};

/// A pattern of tokenizer.json: {"String": …} matches that text, {"Regex": …} is an expression.
Result<Regex> pattern_from_json(const nlohmann::json& config);

}  // namespace tunefleet::data
