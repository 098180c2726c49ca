#include "tuners/config/rank_limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "tuners/config/target_match.h"
#include "tuners/config/tuner_schema.h"

namespace tunefleet::tuners {
namespace {

/// The option's value when it is a V; null otherwise, and when there is no such option.
template <typename V>
const V* value_of(const TunerOptions& options, std::string_view key) {
  const TunerOption* option = find_option(options.schema(), key);
  if (option == nullptr) return nullptr;
  const OptionRef ref = option->ref(const_cast<void*>(options.data()));
  V* const* value = std::get_if<V*>(&ref);
  return value == nullptr ? nullptr : *value;
}

}  // namespace

std::optional<int64_t> update_rank(const TunerOptions& options, std::string_view path) {
  const auto* rank = value_of<int64_t>(options, options.schema().rank_key);
  if (rank == nullptr) return std::nullopt;
  const auto* pattern = value_of<Pattern<int64_t>>(options, "rank_pattern");
  const auto* own = pattern == nullptr ? nullptr : find_pattern(*pattern, path);
  return own == nullptr ? *rank : *own;
}

Status check_rank(const TunerOptions& options, const std::string& path, int64_t rows,
                  int64_t cols) {
  const auto rank = update_rank(options, path);
  if (!rank || *rank <= std::min(rows, cols)) return {};
  const TunerSchema& schema = options.schema();
  const bool has_pattern = value_of<Pattern<int64_t>>(options, "rank_pattern") != nullptr;
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("{}'s rank is larger than the layer, lower it{}: {} {}, {} is [{}, {}]",
                  schema.name, has_pattern ? " (rank_pattern does so for single modules)" : "",
                  schema.rank_key, *rank, path, rows, cols));
}

}  // namespace tunefleet::tuners
