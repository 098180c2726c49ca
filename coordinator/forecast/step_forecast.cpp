#include "coordinator/forecast/step_forecast.h"

#include <fmt/format.h>

#include <algorithm>

namespace tunefleet::coordinator {
namespace {

/// Tokens that a chat template may add to a row, its default system prompt included.
constexpr int64_t kTemplateTokens = 512;

/// Why rows may be left out, cut up or joined; empty when each stays one row.
std::string change_of_rows(const JobSpec& spec, std::optional<int64_t> longest, int64_t limit,
                           Bound& bound) {
  if (spec.packing) {
    bound = Bound::kUpper;
    return "packing joins short rows";
  }
  const int64_t system = spec.system ? static_cast<int64_t>(spec.system->size()) : 0;
  const bool fits = longest && *longest + system + kTemplateTokens <= limit;
  const std::string& strategy = spec.truncation_strategy;
  if (fits || spec.strict || strategy == "left" || strategy == "right") return "";
  if (strategy == "split") {
    bound = Bound::kLower;
    return fmt::format("rows of more than {} tokens become several", limit);
  }
  bound = Bound::kUpper;
  return fmt::format("rows of more than {} tokens are left out", limit);
}

}  // namespace

std::string_view bound_name(Bound bound) {
  if (bound == Bound::kExact) return "exact";
  return bound == Bound::kUpper ? "upper" : "lower";
}

StepForecast forecast_steps(const JobSpec& spec, int64_t rows, std::optional<int64_t> longest,
                            int64_t limit) {
  StepForecast forecast;
  const bool splits = spec.val_dataset.empty();
  forecast.rows = rows - (splits ? held_out_rows(rows, spec.split_dataset_ratio) : 0);
  forecast.count = count_steps(spec, std::max<int64_t>(1, forecast.rows), spec.workers.max);
  // A row's own length cannot change how often steps are made when their number is given.
  if (spec.max_steps <= 0) {
    forecast.note = change_of_rows(spec, longest, spec.max_length.value_or(limit), forecast.bound);
  }
  if (spec.max_minutes > 0) {
    forecast.bound = Bound::kUpper;
    forecast.note +=
        fmt::format("{}max_minutes may end it before", forecast.note.empty() ? "" : "; ");
  }
  return forecast;
}

}  // namespace tunefleet::coordinator
