#include "storage/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <utility>

#include "proto/log.h"
#include "storage/os_error.h"

namespace tunefleet::storage {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kLatest = "latest";

/// A whole decimal number, no sign.
std::optional<int64_t> parse_number(std::string_view text) {
  int64_t number = 0;
  const auto end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, number);
  const bool whole = result.ec == std::errc() && result.ptr == end && !text.empty();
  return whole && text.front() != '-' ? std::optional(number) : std::nullopt;
}

/// Puts a good checkpoint that stepped aside back when its place is empty: the writer died between
/// the two renames of a replacement.
bool restore(const fs::path& run, const fs::path& aside) {
  if (!aside.filename().string().starts_with("old.")) return false;
  const auto manifest = verify_checkpoint(aside);
  if (!manifest) return false;
  const fs::path target = run / fmt::format("{}{}", kPrefix, manifest->step);
  std::error_code error;
  if (fs::exists(fs::symlink_status(target, error))) return false;
  return ::rename(aside.c_str(), target.c_str()) == 0;
}

}  // namespace

Result<std::vector<std::pair<int64_t, fs::path>>> list_checkpoints(const fs::path& run) {
  std::vector<std::pair<int64_t, fs::path>> all;
  std::error_code error;
  if (!fs::exists(run, error)) return all;
  for (fs::directory_iterator entry(run, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(kPrefix) ||
        entry->symlink_status(error).type() != fs::file_type::directory) {
      continue;
    }
    if (const auto step = parse_number(std::string_view(name).substr(kPrefix.size()))) {
      all.emplace_back(*step, entry->path());
    }
  }
  if (error) return fail_os("cannot list the run's checkpoints", run, error);
  std::sort(all.begin(), all.end());
  return all;
}

Result<std::optional<fs::path>> newest_checkpoint(const fs::path& run,
                                                  std::vector<SkippedCheckpoint>* skipped) {
  const auto all = list_checkpoints(run);
  if (!all) return fail(all.error());
  for (auto entry = all->rbegin(); entry != all->rend(); ++entry) {
    const auto manifest = verify_checkpoint(entry->second);
    if (manifest && manifest->step == entry->first) return entry->second;
    Error reason = manifest
                       ? Error{ErrorCode::kDataLoss, "checkpoint is of another step than its name"}
                       : manifest.error();
    log::warning(
        fmt::format("checkpoint is passed over: {}, {}", entry->second.string(), reason.message));
    if (skipped != nullptr) skipped->push_back({entry->second, std::move(reason)});
  }
  return std::optional<fs::path>();
}

Result<int> prune_checkpoints(const fs::path& run, int keep, const std::vector<fs::path>& protect) {
  if (keep < 1) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("at least one checkpoint must be kept: {}", keep));
  }
  const auto all = list_checkpoints(run);
  if (!all) return fail(all.error());
  std::error_code error;
  const std::string latest = fs::read_symlink(run / kLatest, error).filename().string();
  const auto is_protected = [&](const fs::path& path) {
    return path.filename() == latest ||
           std::any_of(protect.begin(), protect.end(),
                       [&](const fs::path& other) { return other.filename() == path.filename(); });
  };
  int removed = 0;
  auto left = static_cast<int64_t>(all->size());
  for (const auto& [step, path] : *all) {
    if (left <= keep) break;
    if (is_protected(path)) continue;
    // Under another name first: half a checkpoint must never carry a checkpoint's name.
    const fs::path aside = run / fmt::format("old.0.{}", unique_name());
    if (::rename(path.c_str(), aside.c_str()) != 0) {
      return fail_os("cannot remove the checkpoint", path, errno);
    }
    fs::remove_all(aside, error);
    if (error) return fail_os("cannot remove the checkpoint", path, error);
    ++removed;
    --left;
  }
  return removed;
}

Status remove_stale_checkpoints(const fs::path& run, int64_t attempt) {
  std::error_code error;
  std::vector<fs::path> stale;
  for (fs::directory_iterator entry(run, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with("tmp.") && !name.starts_with("old.")) continue;
    const auto owner = std::string_view(name).substr(4, name.find('.', 4) - 4);
    if (owner == kLatest || parse_number(owner).value_or(attempt + 1) <= attempt) {
      stale.push_back(entry->path());
    }
  }
  if (error) return fail_os("cannot list the run's directory", run, error);
  for (const fs::path& path : stale) {
    if (restore(run, path)) continue;
    fs::remove_all(path, error);
    if (error) return fail_os("cannot remove what a dead writer left", path, error);
  }
  return {};
}

}  // namespace tunefleet::storage
