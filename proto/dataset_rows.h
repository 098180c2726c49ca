#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/result.h"

namespace tunefleet {

/// How a row says what to learn; chosen by its columns, see proto/dataset_rows.md.
enum class DatasetForm { kMessages, kAlpaca, kQueryResponse, kPretokenised, kPreferredOutput };

/// "messages", "alpaca", "query_response", "pretokenised" or "preferred_output".
std::string_view dataset_form_name(DatasetForm form);

/// One turn of a conversation.
struct Message {
  std::string role;          ///< system | user | assistant | tool | tool_call.
  std::string content;       ///< UTF-8.
  std::optional<bool> loss;  ///< The row's own word on training this turn; unset: as the role says.

  bool operator==(const Message&) const = default;
};

/// One training row, whatever form the file has: either a conversation or token ids, never both. A
/// preference has a rejected answer beside the one to learn, each with all that stands before it.
struct DatasetRow {
  DatasetForm form = DatasetForm::kMessages;
  std::vector<Message> messages;
  std::vector<int32_t> input_ids;  ///< Only kPretokenised.
  std::vector<int32_t> labels;     ///< As long as input_ids; kIgnoreLabel where nothing is learnt.
  std::vector<Message> rejected_messages;   ///< Empty unless the row is a preference.
  std::vector<int32_t> rejected_input_ids;  ///< Likewise, of kPretokenised.
  std::vector<int32_t> rejected_labels;     ///< As labels.
  int64_t line = 0;                         ///< Where the row begins in its file, from 1.

  bool is_preference() const { return !rejected_messages.empty() || !rejected_input_ids.empty(); }
};

inline constexpr int32_t kIgnoreLabel = -100;

/// What a well-formed file holds.
struct DatasetSummary {
  int64_t rows = 0;
  DatasetForm form = DatasetForm::kMessages;  ///< Of the first row; rows may differ.
  int64_t bytes = 0;                          ///< Of the file.
  int64_t preferences = 0;                    ///< Rows with a rejected answer.
  /// Lines of the first row with a rejected answer and of the first one without; 0: there is none.
  int64_t first_preference = 0, first_supervised = 0;
};

/// What a job's training method wants of its rows.
enum class RowsWanted { kSupervised, kPreferences };

/// kInvalidArgument, with a line, unless all rows of a file are of the wanted kind: a supervised
/// run would learn half of a preference, and DPO nothing of another row.
Status check_rows_wanted(const DatasetSummary& summary, RowsWanted wanted);

/// Bounds on what is read from a file that a stranger may have written.
struct DatasetLimits {
  int64_t max_row_bytes = int64_t{16} << 20;  ///< Of one row's JSON text.
  int64_t max_depth = 64;                     ///< Nesting of objects and arrays in one row.
  int64_t max_reported_rows = 20;  ///< Malformed rows listed one by one; the rest counted.
};

/// Reads one row from its JSON text. The error's message is the reason alone, without file and
/// line.
Result<DatasetRow> parse_dataset_row(std::string_view json_text);

/// Reads a JSONL file, or a file that is one JSON array, and hands its rows to `visit` in order,
/// one at a time: memory does not grow with the file. A byte order mark, CRLF and blank lines are
/// accepted. Malformed rows do not stop the reading; they are gathered into one kInvalidArgument
/// error with a line "file:line: reason" for each. `shown_as` stands for the path in messages when
/// it is not empty. Other errors: kNotFound, kPermissionDenied, and kInvalidArgument for a file
/// without rows.
Status visit_dataset(const std::filesystem::path& path,
                     const std::function<void(DatasetRow&&)>& visit, std::string_view shown_as = {},
                     const DatasetLimits& limits = {});

/// All rows of a file, or the one error that visit_dataset() tells of.
Result<std::vector<DatasetRow>> read_dataset(const std::filesystem::path& path,
                                             std::string_view shown_as = {});

/// Checks every row of a file without keeping any: what an upload and a job's start ask for.
Result<DatasetSummary> check_dataset(const std::filesystem::path& path,
                                     std::string_view shown_as = {});

}  // namespace tunefleet
