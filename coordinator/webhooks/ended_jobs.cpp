#include "coordinator/webhooks/ended_jobs.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "storage/atomic_file.h"
#include "storage/os_error.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr int64_t kPage = 100;
constexpr unsigned kMode = 0600;
constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;

}  // namespace

Result<EndedJobs> EndedJobs::open(JobStore& jobs, std::filesystem::path file) {
  EndedJobs ended(jobs, std::move(file));
  if (const auto loaded = ended.load(); !loaded) return fail(loaded.error());
  return ended;
}

Status EndedJobs::load() {
  const auto text = storage::read_small_file(file_, kMaxFileBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) {
    cursor_ = {};
    return {};
  }
  if (!text) return fail("reading the webhooks' cursor", text.error());
  try {
    const json stored = json::parse(*text);
    cursor_ = {.newest = stored.at("newest"), .open = stored.at("open")};
  } catch (const json::exception& error) {
    return fail(
        ErrorCode::kDataLoss,
        fmt::format("the webhooks' cursor is damaged; remove it to have the ends of earlier "
                    "jobs told once more: {}: {}",
                    file_.string(), error.what()));
  }
  return {};
}

Status EndedJobs::keep(Cursor next) {
  if (next == cursor_) return {};
  const json stored{{"newest", next.newest}, {"open", next.open}};
  const auto kept = storage::write_file_atomically(file_, stored.dump() + "\n", kMode);
  if (!kept) return fail("storing the webhooks' cursor", kept.error());
  cursor_ = std::move(next);
  return {};
}

Status EndedJobs::reset() {
  std::error_code error;
  std::filesystem::remove(file_, error);
  if (error) return storage::fail_os("cannot remove the webhooks' cursor", file_, error);
  cursor_ = {};
  return {};
}

Status EndedJobs::look(const Visit& visit) {
  Cursor next{.newest = cursor_.newest};
  if (const auto looked = look_at_new_jobs(visit, next); !looked) return looked;
  if (const auto looked = look_at_open_jobs(visit, next); !looked) return looked;
  return keep(std::move(next));
}

Status EndedJobs::look_at_new_jobs(const Visit& visit, Cursor& next) const {
  std::string after;
  for (bool more = true; more;) {
    const auto page = jobs_->list("", after, kPage);
    if (!page) return fail(page.error());
    more = page->has_more;
    for (const JobRecord& job : page->jobs) {
      if (job.id == cursor_.newest) return {};
      if (after.empty()) next.newest = job.id;
      after = job.id;
      if (!is_final(job.phase)) {
        next.open.insert(job.id);
      } else if (const auto taken = visit(job); !taken) {
        return taken;
      }
    }
  }
  return {};
}

Status EndedJobs::look_at_open_jobs(const Visit& visit, Cursor& next) const {
  if (cursor_.open.empty()) return {};
  const auto waiting_or_running = unfinished();
  if (!waiting_or_running) return fail(waiting_or_running.error());
  for (const std::string& id : cursor_.open) {
    if (waiting_or_running->contains(id)) {
      next.open.insert(id);
      continue;
    }
    const auto job = jobs_->get(id);
    if (!job && job.error().code == ErrorCode::kNotFound) continue;
    if (!job) return fail(job.error());
    if (!is_final(job->phase)) {
      next.open.insert(id);  // It moved between the two reads, or its files are being checked.
    } else if (const auto taken = visit(*job); !taken) {
      return taken;
    }
  }
  return {};
}

Result<std::set<std::string>> EndedJobs::unfinished() const {
  std::set<std::string> ids;
  for (const auto read : {&JobStore::queued, &JobStore::running}) {
    const auto group = (jobs_->*read)();
    if (!group) return fail(group.error());
    for (const JobRecord& job : *group) ids.insert(job.id);
  }
  return ids;
}

}  // namespace tunefleet::coordinator
