#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/job_spec.h"
#include "proto/limits.h"

namespace tunefleet {

/// Where a key's value lives; its type says how the value is read and written.
using FieldMember =
    std::variant<std::string JobSpec::*, std::optional<std::string> JobSpec::*, int64_t JobSpec::*,
                 std::optional<int64_t> JobSpec::*, double JobSpec::*,
                 std::optional<double> JobSpec::*, bool JobSpec::*, std::optional<bool> JobSpec::*,
                 std::vector<std::string> JobSpec::*, std::vector<int64_t> JobSpec::*,
                 std::map<std::string, int64_t> JobSpec::*,
                 std::map<std::string, double> JobSpec::*,
                 std::map<std::string, std::string> JobSpec::*, WorkerRange JobSpec::*>;

/// One key of the job file. The table of them drives reading, writing, checking and documentation.
struct JobField {
  std::string_view key;
  std::string_view section;
  FieldMember member;
  std::string_view help;
  Limits limits = {};
  std::vector<std::string_view> allowed = {};  ///< Of a text; empty: any.
  bool or_boolean = false;                     ///< A text that may be written as a boolean too.

  /// "text", "whole number", "list of texts", …
  std::string_view kind_text() const;
};

/// Every key, in the order of the documentation.
const std::vector<JobField>& job_fields();
/// nullptr when the job file has no such key.
const JobField* find_job_field(std::string_view key);
/// All keys, in order.
const std::vector<std::string_view>& job_keys();

/// proto/job_spec.md: every key with its kind, default, limits and meaning, out of the table.
std::string job_spec_markdown();

}  // namespace tunefleet
