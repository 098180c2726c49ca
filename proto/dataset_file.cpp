#include <fmt/format.h>

#include "proto/dataset_rows.h"
#include "proto/json_records.h"

namespace tunefleet {
namespace {

/// Gathers the malformed rows of one file into one error.
class MalformedRows {
 public:
  MalformedRows(std::string file, int64_t max_listed)
      : file_(std::move(file)), max_listed_(max_listed) {}

  void add(int64_t line, const std::string& reason) { add(fmt::format("{}: {}", line, reason)); }

  /// `line_and_reason` is "12: reason".
  void add(const std::string& line_and_reason) {
    if (++count_ <= max_listed_) listed_ += fmt::format("\n  {}:{}", file_, line_and_reason);
  }

  bool empty() const { return count_ == 0; }

  tl::unexpected<Error> error() const {
    std::string message = fmt::format("malformed rows: {} in {}{}", count_, file_, listed_);
    if (count_ > max_listed_) message += fmt::format("\n  and {} more", count_ - max_listed_);
    return fail(ErrorCode::kInvalidArgument, std::move(message));
  }

 private:
  std::string file_;
  int64_t max_listed_;
  int64_t count_ = 0;
  std::string listed_;
};

}  // namespace

Status visit_dataset(const std::filesystem::path& path,
                     const std::function<void(DatasetRow&&)>& visit, std::string_view shown_as,
                     const DatasetLimits& limits) {
  const std::string file = shown_as.empty() ? path.string() : std::string(shown_as);
  auto reader = JsonRecordReader::open(path, limits.max_row_bytes, limits.max_depth);
  if (!reader) return fail(reader.error());
  MalformedRows malformed(file, limits.max_reported_rows);
  int64_t rows = 0;
  JsonRecord record;
  while (true) {
    const auto more = reader->next(record);
    if (!more && more.error().code != ErrorCode::kInvalidArgument) return fail(file, more.error());
    if (!more) malformed.add(more.error().message);
    if (!more || !*more) break;
    ++rows;
    if (!record.problem.empty()) {
      malformed.add(record.line, record.problem);
    } else if (auto row = parse_dataset_row(record.text)) {
      row->line = record.line;
      if (malformed.empty()) visit(std::move(*row));
    } else {
      malformed.add(record.line, row.error().message);
    }
  }
  if (!malformed.empty()) return malformed.error();
  if (rows == 0)
    return fail(ErrorCode::kInvalidArgument, fmt::format("no rows in the file: {}", file));
  return {};
}

Result<std::vector<DatasetRow>> read_dataset(const std::filesystem::path& path,
                                             std::string_view shown_as) {
  std::vector<DatasetRow> rows;
  const auto keep = [&rows](DatasetRow&& row) { rows.push_back(std::move(row)); };
  if (auto status = visit_dataset(path, keep, shown_as); !status) return fail(status.error());
  return rows;
}

Result<DatasetSummary> check_dataset(const std::filesystem::path& path, std::string_view shown_as) {
  DatasetSummary summary;
  const auto count = [&summary](DatasetRow&& row) {
    if (summary.rows++ == 0) summary.form = row.form;
    if (row.is_preference()) ++summary.preferences;
    auto& first = row.is_preference() ? summary.first_preference : summary.first_supervised;
    if (first == 0) first = row.line;
  };
  if (auto status = visit_dataset(path, count, shown_as); !status) return fail(status.error());
  std::error_code error;
  summary.bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error)
    return fail(ErrorCode::kUnavailable, fmt::format("cannot tell the size: {}", path.string()));
  return summary;
}

Status check_rows_wanted(const DatasetSummary& summary, RowsWanted wanted) {
  const int64_t others = summary.rows - summary.preferences;
  if (wanted == RowsWanted::kPreferences && others > 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("rows without a rejected answer, which DPO learns from: {} of {}, the "
                            "first on line {}; give each preferred_output and "
                            "non_preferred_output, or rejected_response, or train supervised",
                            others, summary.rows, summary.first_supervised));
  }
  if (wanted == RowsWanted::kSupervised && summary.preferences > 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("rows are preferences, which supervised training does not learn: {} "
                            "of {}, the first on line {}; use the method dpo (rlhf_type: dpo), or "
                            "remove what is rejected",
                            summary.preferences, summary.rows, summary.first_preference));
  }
  return {};
}

}  // namespace tunefleet
