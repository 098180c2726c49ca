#include "coordinator/forecast/row_bound.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <system_error>

namespace tunefleet::coordinator {

int64_t token_bound(std::string_view row) {
  if (row.find("\"input_ids\"") == std::string_view::npos) return static_cast<int64_t>(row.size());
  return std::ranges::count(row, ',') + 1;
}

std::optional<int64_t> longest_row(const std::filesystem::path& path, int64_t limit_bytes) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error || size > static_cast<uintmax_t>(limit_bytes)) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  int64_t longest = 0;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) continue;
    if (line[first] != '{') return std::nullopt;
    longest = std::max(longest, token_bound(line));
  }
  if (!file.eof() || longest == 0) return std::nullopt;
  return longest;
}

}  // namespace tunefleet::coordinator
