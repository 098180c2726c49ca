#include "worker/agent/process_tree.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <sstream>

#include "worker/agent/run_files.h"

namespace tunefleet::agent {
namespace {

struct Process {
  pid_t parent = 0;
  pid_t session = 0;
  bool zombie = false;
};

/// "pid (name) state ppid pgrp session …"; the name may hold anything, so what counts starts behind
/// its last ')'.
bool read_stat(const std::string& text, Process& process) {
  const auto name_end = text.rfind(')');
  if (name_end == text.npos) return false;
  std::istringstream fields(text.substr(name_end + 1));
  char state = 0;
  pid_t group = 0;
  if (!(fields >> state >> process.parent >> group >> process.session)) return false;
  process.zombie = state == 'Z' || state == 'X';
  return true;
}

std::map<pid_t, Process> all_processes() {
  std::map<pid_t, Process> processes;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    pid_t pid = 0;
    const auto [stop, bad] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (bad != std::errc() || stop != name.data() + name.size()) continue;
    Process process;
    if (read_stat(file_text(entry->path() / "stat"), process)) processes[pid] = process;
  }
  return processes;
}

std::vector<pid_t> below(const std::map<pid_t, Process>& processes, pid_t root) {
  std::vector<pid_t> found{root};
  for (size_t i = 0; i < found.size(); ++i) {
    for (const auto& [pid, process] : processes) {
      if (process.parent == found[i]) found.push_back(pid);
    }
  }
  found.erase(found.begin());
  return found;
}

bool carries_tag(pid_t pid, const std::string& tag) {
  const std::string environment = file_text(fmt::format("/proc/{}/environ", pid));
  const std::string wanted = fmt::format("{}={}", kGangVariable, tag) + '\0';
  return environment.starts_with(wanted) || environment.find('\0' + wanted) != environment.npos;
}

}  // namespace

bool is_running(pid_t pid) {
  Process process;
  return read_stat(file_text(fmt::format("/proc/{}/stat", pid)), process) && !process.zombie;
}

bool is_exec_on(pid_t pid) {
  const std::string words = file_text(fmt::format("/proc/{}/cmdline", pid));
  const auto second = words.find('\0');
  return second != words.npos && words.substr(second + 1).starts_with(std::string("exec-on\0", 8));
}

std::vector<pid_t> descendants_of(pid_t root) { return below(all_processes(), root); }

std::vector<pid_t> gang_processes(pid_t session, const std::string& tag) {
  const auto processes = all_processes();
  std::vector<pid_t> members;
  for (const pid_t pid : below(processes, ::getpid())) {
    const Process& process = processes.at(pid);
    const bool child_of_member = std::ranges::find(members, process.parent) != members.end();
    if (child_of_member || process.session == session || carries_tag(pid, tag)) {
      if (!process.zombie) members.push_back(pid);
    }
  }
  return members;
}

}  // namespace tunefleet::agent
