#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace tunefleet::coordinator {

/// A bound on the tokens of one row of a data set, without a tokenizer. Byte-level tokenizers never
/// make more tokens than there are bytes; a row of token ids has no more ids than commas and one.
int64_t token_bound(std::string_view row);

/// The largest token_bound() of a JSONL file's rows. Unset when it is not one row a line, cannot be
/// read, or has more than `limit_bytes`.
std::optional<int64_t> longest_row(const std::filesystem::path& path, int64_t limit_bytes);

}  // namespace tunefleet::coordinator
