#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/dataset_rows.h"
#include "proto/result.h"

/// What the readers of all forms of rows (dataset_rows.cpp, preference_rows.cpp) share. Errors are
/// kInvalidArgument with the reason alone, without file and line.
namespace tunefleet {

using ColumnNames = std::span<const std::string_view>;

tl::unexpected<Error> malformed(std::string reason);

/// A row's columns by lower-cased name, nulls left out; points into the row.
class Columns {
 public:
  static Result<Columns> of(const nlohmann::json& row);

  /// nullptr when there is none.
  const nlohmann::json* find(std::string_view name) const;

  /// The one column among `names`, the first name winning over its aliases; null when there is
  /// none.
  Result<const nlohmann::json*> one_of(ColumnNames names) const;

 private:
  std::map<std::string, const nlohmann::json*, std::less<>> values_;
};

/// A text, or OpenAI's list of text parts. `what` names it in errors.
Result<std::string> text_of(const nlohmann::json& value, std::string_view what);

/// Turns with a role each, or pairs of human and assistant. `name` is the column's.
Result<std::vector<Message>> read_conversation(const nlohmann::json& turns, std::string_view name);

/// Puts the column `system` in front, where there is one.
Status prepend_system(const Columns& columns, std::vector<Message>& messages);

/// Whether turns of this role may be learnt: assistant and tool_call.
bool can_be_trained(const std::string& role);

/// Refuses a conversation without a turn that is learnt.
Status check_conversation(const std::vector<Message>& messages);

/// Token ids, and as many labels.
struct TokenColumns {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;
};

/// The columns of these names; without labels every token is learnt. Refuses rows without a label
/// to learn.
Result<TokenColumns> read_tokens(const Columns& columns, std::string_view ids,
                                 std::string_view labels);

// ---- preference_rows.cpp

/// Whether a row has OpenAI's columns of preferences.
bool has_preferred_output(const Columns& columns);
/// {"input": {"messages": …}, "preferred_output": […], "non_preferred_output": […]}.
Result<DatasetRow> read_preferred_output(const Columns& columns);
/// Reads rejected_response or rejected_messages, or rejected_input_ids, into a row that is read
/// else; nothing happens when it has none of them.
Status read_rejected(const Columns& columns, DatasetRow& row);

}  // namespace tunefleet
