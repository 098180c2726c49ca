#include "worker/data/dataset.h"

#include <fmt/format.h>

#include "worker/data/sampler.h"

namespace tunefleet::data {

Result<EncodedRows> load_dataset(std::span<const std::string> paths, const RowEncoder& encoder) {
  EncodedRows all;
  for (const auto& path : paths) {
    const auto rows = read_dataset(path);
    if (!rows) return fail(rows.error());
    const auto encoded = encode_rows(*rows, encoder, path);
    if (!encoded) return fail(encoded.error());
    all.examples.append(encoded->examples);
    all.report += encoded->report;
  }
  if (all.examples.size() == 0) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("no example is left to train on: {}; raise max_length or choose another "
                    "truncation_strategy",
                    all.report.text(encoder.options())));
  }
  return all;
}

SplitDataset split_dataset(const EncodedDataset& all, double ratio, int64_t data_seed,
                           int64_t examples_per_row) {
  const auto rows = split_rows(all.size() / examples_per_row, ratio, data_seed);
  return {all.subset(examples_of_rows(rows.train, examples_per_row)),
          all.subset(examples_of_rows(rows.eval, examples_per_row))};
}

std::vector<int64_t> examples_of_rows(std::span<const int64_t> rows, int64_t examples_per_row) {
  std::vector<int64_t> examples;
  examples.reserve(rows.size() * static_cast<size_t>(examples_per_row));
  for (const int64_t row : rows) {
    for (int64_t i = 0; i < examples_per_row; ++i) examples.push_back(row * examples_per_row + i);
  }
  return examples;
}

}  // namespace tunefleet::data
