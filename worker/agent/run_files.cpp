#include "worker/agent/run_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace tunefleet::agent {
namespace {

constexpr std::streamoff kTailBytes = 16 * 1024;
constexpr size_t kTailLimit = 2000;
constexpr std::string_view kPartSuffix = ".part.json";

std::string dump(const nlohmann::json& object) {
  return object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

nlohmann::json read_object(const std::filesystem::path& path) {
  auto object = nlohmann::json::parse(file_text(path), nullptr, false);
  return object.is_object() ? object : nlohmann::json();
}

template <typename T>
T value_or(const nlohmann::json& object, const char* key, T fallback) {
  const auto found = object.find(key);
  if (found == object.end()) return fallback;
  if constexpr (std::is_same_v<T, std::string>) {
    return found->is_string() ? found->template get<T>() : fallback;
  } else if constexpr (std::is_same_v<T, bool>) {
    return found->is_boolean() ? found->template get<T>() : fallback;
  } else {
    return found->is_number_integer() ? found->template get<T>() : fallback;
  }
}

/// "3.error.json" -> 3 and ".error.json".
std::optional<std::pair<int, std::string>> split_name(const std::string& name) {
  int rank = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), rank);
  if (error != std::errc()) return std::nullopt;
  return std::make_pair(rank, std::string(stop));
}

void read_one(const std::filesystem::path& path, int rank, const std::string& suffix,
              RankFiles& files) {
  const auto object = suffix == ".pid" ? nlohmann::json() : read_object(path);
  if (suffix == ".pid") {
    std::istringstream words(file_text(path));
    words >> files.exec_ranks[rank].pid >> files.exec_ranks[rank].host;
  } else if (suffix == ".error.json" && object.is_object()) {
    files.errors[rank] = {.code = value_or<std::string>(object, "code", "internal"),
                          .message = value_or<std::string>(object, "message", "")};
  } else if (suffix == ".json" && object.is_object()) {
    files.exits[rank] = {.rank = rank,
                         .host = value_or<std::string>(object, "host", ""),
                         .pid = value_or<int64_t>(object, "pid", 0),
                         .exit_code = value_or<int>(object, "exit_code", 0),
                         .signal = value_or<int>(object, "signal", 0),
                         .terminated_at_ms = value_or<int64_t>(object, "terminated_at_ms", 0),
                         .ended_at_ms = value_or<int64_t>(object, "ended_at_ms", 0)};
  }
}

void read_part_note(const std::filesystem::path& path, const std::string& host, RankFiles& files) {
  const auto object = read_object(path);
  if (!object.is_object()) return;
  files.parts[host] = {.ended = value_or<bool>(object, "ended", true),
                       .message = value_or<std::string>(object, "message", "")};
}

}  // namespace

std::filesystem::path exit_directory_of(const std::filesystem::path& run_directory,
                                        int64_t attempt) {
  return run_directory / "exit" / std::to_string(attempt);
}

Status replace_file(const std::filesystem::path& path, const std::string& text) {
  const std::filesystem::path aside = path.string() + fmt::format(".{}.tmp", ::getpid());
  {
    std::ofstream out(aside, std::ios::binary | std::ios::trunc);
    out << text;
    out.flush();
    if (!out) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("cannot write: {} ({})", aside.string(), std::strerror(errno)));
    }
  }
  std::error_code error;
  std::filesystem::rename(aside, path, error);
  if (!error) return {};
  return fail(ErrorCode::kUnavailable,
              fmt::format("cannot write: {} ({})", path.string(), error.message()));
}

std::string file_text(const std::filesystem::path& path) { return text_from(path, 0); }

std::string text_from(const std::filesystem::path& path, uint64_t offset) {
  std::ifstream in(path, std::ios::binary);
  if (offset > 0) in.seekg(static_cast<std::streamoff>(offset));
  // Not from the buffer itself, which throws when a file of /proc is opened and its process ends
  // before it is read.
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

Status write_exit_report(const std::filesystem::path& exit_directory, const ExitReport& report) {
  nlohmann::json object{{"rank", report.rank},
                        {"host", report.host},
                        {"pid", report.pid},
                        {"ended_at_ms", report.ended_at_ms}};
  if (report.signal != 0) {
    object["signal"] = report.signal;
  } else {
    object["exit_code"] = report.exit_code;
  }
  if (report.terminated_at_ms != 0) object["terminated_at_ms"] = report.terminated_at_ms;
  return replace_file(exit_directory / fmt::format("{}.json", report.rank), dump(object));
}

Status write_rank_error(const std::filesystem::path& exit_directory, int rank,
                        const RankError& error) {
  return replace_file(exit_directory / fmt::format("{}.error.json", rank),
                      dump({{"code", error.code}, {"message", error.message}}));
}

Status write_exec_rank(const std::filesystem::path& exit_directory, int rank,
                       const ExecRank& exec) {
  return replace_file(exit_directory / fmt::format("{}.pid", rank),
                      fmt::format("{} {}\n", exec.pid, exec.host));
}

Status write_part_note(const std::filesystem::path& exit_directory, const std::string& host,
                       const PartNote& note) {
  return replace_file(exit_directory / (host + std::string(kPartSuffix)),
                      dump({{"ended", note.ended}, {"message", note.message}}));
}

RankFiles read_rank_files(const std::filesystem::path& exit_directory) {
  RankFiles files;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(exit_directory, error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(kPartSuffix)) {
      read_part_note(entry->path(), name.substr(0, name.size() - kPartSuffix.size()), files);
    } else if (const auto rank = split_name(name)) {
      read_one(entry->path(), rank->first, rank->second, files);
    }
  }
  return files;
}

Status write_gang_note(const std::filesystem::path& run_directory, const GangNote& note) {
  nlohmann::json object{{"attempt", note.attempt}, {"host", note.host}};
  if (note.ended) object["ended"] = *note.ended;
  return replace_file(run_directory / "gang.json", dump(object));
}

std::optional<GangNote> read_gang_note(const std::filesystem::path& run_directory) {
  const auto object = read_object(run_directory / "gang.json");
  if (!object.is_object()) return std::nullopt;
  GangNote note{.attempt = value_or<int64_t>(object, "attempt", 0),
                .host = value_or<std::string>(object, "host", "")};
  if (object.contains("ended") && object["ended"].is_object()) note.ended = object["ended"];
  return note;
}

std::string valid_utf8(const std::string& text) {
  const std::string quoted =
      nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return nlohmann::json::parse(quoted).get<std::string>();
}

std::string last_lines(const std::filesystem::path& path, size_t lines) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const std::streamoff size = in.tellg();
  in.seekg(std::max<std::streamoff>(0, size - kTailBytes));
  std::vector<std::string> kept;
  for (std::string line; std::getline(in, line);) {
    if (line.find_first_not_of(" \t\r-") == line.npos) continue;
    kept.push_back(line);
  }
  std::string text;
  for (size_t i = kept.size() - std::min(lines, kept.size()); i < kept.size(); ++i) {
    text += (text.empty() ? "" : "\n") + kept[i];
  }
  if (text.size() > kTailLimit) text = text.substr(text.size() - kTailLimit);
  return valid_utf8(text);
}

}  // namespace tunefleet::agent
