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

SplitDataset split_dataset(const EncodedDataset& all, double ratio, int64_t data_seed) {
  const auto rows = split_rows(all.size(), ratio, data_seed);
  return {all.subset(rows.train), all.subset(rows.eval)};
}

}  // namespace tunefleet::data
