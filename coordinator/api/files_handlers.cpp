#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/form_body.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/api/unfinished_jobs.h"
#include "proto/utf8_text.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxFileBytes = uint64_t{512} << 20;
constexpr size_t kMaxFieldBytes = 1024;
constexpr size_t kMaxFilename = 255;
constexpr int64_t kMaxPage = 10'000;

/// The parts of one upload as they come in.
struct UploadForm {
  std::unique_ptr<FileUpload> file;
  std::string filename;
  std::map<std::string, std::string> fields;
  std::string current;  ///< Field being read; empty inside the file.
};

Status begin_part(UploadForm& form, FileStore& files, const MultipartPart& part) {
  form.current = part.name;
  if (part.name != "file") return {};
  if (form.file) return fail(ErrorCode::kInvalidArgument, "file: is given twice");
  auto upload = files.begin_upload();
  if (!upload) return fail(upload.error());
  form.file = std::move(*upload);
  form.filename = first_characters(part.filename.value_or("file"), kMaxFilename);
  if (form.filename.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, "file: the filename holds a NUL");
  }
  return {};
}

Status take_piece(UploadForm& form, std::string_view piece) {
  if (form.current == "file") return form.file->write(piece);
  std::string& value = form.fields[form.current];
  value += piece;
  if (value.size() <= kMaxFieldBytes) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("a field of the form is too long: {}", form.current));
}

ApiResult<UploadForm> read_form(HttpRequest& request, FileStore& files) {
  UploadForm form;
  const auto read = read_form_body(
      request, kMaxFileBytes,
      {.begin = [&](const MultipartPart& part) { return begin_part(form, files, part); },
       .data = [&](std::string_view piece) { return take_piece(form, piece); },
       .end = [] { return Status(); }});
  if (!read) return api_fail(read.error());
  return form;
}

ApiResult<std::optional<int64_t>> expiry_of(const UploadForm& form) {
  const auto anchor = form.fields.find("expires_after[anchor]");
  const auto seconds = form.fields.find("expires_after[seconds]");
  if (anchor == form.fields.end() && seconds == form.fields.end()) return std::nullopt;
  if (anchor == form.fields.end() || anchor->second != "created_at") {
    return api_fail(bad_request("must be created_at", "expires_after.anchor"));
  }
  int64_t value = 0;
  if (seconds != form.fields.end()) {
    const std::string& text = seconds->second;
    std::from_chars(text.data(), text.data() + text.size(), value);
  }
  if (const auto fine = check_file_expiry(value); !fine) return api_fail(fine.error());
  return value;
}

ApiReply upload_file(const ApiContext& context, HttpRequest& request) {
  auto form = read_form(request, context.files);
  if (!form) return api_fail(form.error());
  if (!form->file) return api_fail(bad_request("file: is missing from the form", "file"));
  const auto purpose = form->fields.find("purpose");
  if (purpose == form->fields.end() || purpose->second != "fine-tune") {
    return api_fail(bad_request(
        fmt::format("purpose: must be fine-tune{}",
                    purpose == form->fields.end() ? ", it is missing" : ": " + purpose->second),
        "purpose"));
  }
  const auto expiry = expiry_of(*form);
  if (!expiry) return api_fail(expiry.error());
  const auto stored = form->file->commit({.owner = request.owner,
                                          .filename = form->filename,
                                          .purpose = purpose->second,
                                          .expires_after_s = *expiry});
  if (!stored) return api_fail(to_storing_error(stored.error()));
  return json_reply(to_openai_file(*stored));
}

ApiReply list_files(const ApiContext& context, HttpRequest& request) {
  const auto limit = query_number(request, "limit", kMaxPage, 1, kMaxPage);
  if (!limit) return api_fail(limit.error());
  const std::string order = request.query_value("order").value_or("desc");
  if (order != "asc" && order != "desc") {
    return api_fail(bad_request("order must be asc or desc: " + order, "order"));
  }
  auto files = context.files.list(request.owner);
  if (order == "asc") std::reverse(files.begin(), files.end());
  if (const auto purpose = request.query_value("purpose")) {
    std::erase_if(files, [&](const StoredFile& file) { return file.purpose != *purpose; });
  }
  auto first = files.begin();
  if (const auto after = request.query_value("after")) {
    first = std::find_if(files.begin(), files.end(),
                         [&](const StoredFile& file) { return file.id == *after; });
    if (first == files.end()) return api_fail(not_found("no such file: " + *after, "after"));
    ++first;
  }
  std::vector<json> items;
  while (first != files.end() && static_cast<int64_t>(items.size()) < *limit) {
    items.push_back(to_openai_file(*first++));
  }
  return json_reply(to_openai_page(std::move(items), first != files.end()));
}

ApiResult<StoredFile> find_file(const ApiContext& context, const HttpRequest& request) {
  auto file = context.files.get(request.owner, request.path_values.at("id"));
  if (!file) return api_fail(to_api_error(file.error()));
  return std::move(*file);
}

ApiReply get_file(const ApiContext& context, HttpRequest& request) {
  const auto file = find_file(context, request);
  if (!file) return api_fail(file.error());
  return json_reply(to_openai_file(*file));
}

ApiReply get_content(const ApiContext& context, HttpRequest& request) {
  const auto file = find_file(context, request);
  if (!file) return api_fail(file.error());
  HttpReply reply;
  reply.content_type = "application/octet-stream";
  reply.file = context.files.content_path(file->id);
  return reply;
}

/// `request`: a job's.
bool uses_file(const json& request, const std::string& id) {
  for (const char* key : {"dataset", "val_dataset"}) {
    const auto found = request.find(key);
    if (found == request.end() || !found->is_array()) continue;
    if (std::find(found->begin(), found->end(), json(id)) != found->end()) return true;
  }
  return false;
}

/// What stands in the way of deleting the file, in words; empty for nothing. A job reads its data
/// when it starts, and again when it is started anew; a sweep's jobs are made one after the other.
ApiResult<std::string> unfinished_user_of(const ApiContext& context, const StoredFile& file) {
  const auto job = find_unfinished_job(context.jobs, file.owner, [&](const JobRecord& each) {
    return uses_file(each.request, file.id);
  });
  if (!job) return api_fail(to_api_error(job.error()));
  if (*job) return job_in_the_way(**job);
  const auto sweeps = context.sweeps.unfinished();
  if (!sweeps) return api_fail(to_api_error(sweeps.error()));
  for (const SweepRecord& sweep : *sweeps) {
    for (const json& trial : sweep.trials) {
      if (uses_file(trial.at("request"), file.id)) return sweep.id;
    }
  }
  return std::string();
}

ApiReply delete_file(const ApiContext& context, HttpRequest& request) {
  const auto file = find_file(context, request);
  if (!file) return api_fail(file.error());
  const auto user = unfinished_user_of(context, *file);
  if (!user) return api_fail(user.error());
  if (!user->empty()) {
    return api_fail(to_api_error(
        {ErrorCode::kConflict,
         fmt::format("the file is in use by a job, cancel it first: {}, {}", file->id, *user)}));
  }
  if (const auto removed = context.files.remove(request.owner, file->id); !removed) {
    return api_fail(to_api_error(removed.error()));
  }
  return json_reply({{"id", file->id}, {"object", "file"}, {"deleted", true}});
}

}  // namespace

std::vector<Route> file_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  return {{"POST",
           "/v1/files",
           bind(upload_file),
           Scope::kSubmit,
           {.summary = "Uploads a data set",
            .reply = "File",
            .request = "CreateFile",
            .request_type = "multipart/form-data"}},
          {"GET",
           "/v1/files",
           bind(list_files),
           Scope::kRead,
           {.summary = "Lists your files, newest first",
            .reply = "FilePage",
            .query = {{"after", "Id of the last file of the page before"},
                      {"limit", "1 to 10000, default 10000", "integer", 1, 10000},
                      {.name = "order",
                       .description = "By time; desc is the default",
                       .allowed = {"desc", "asc"}},
                      {"purpose", "Only files of that purpose"}}}},
          {"GET",
           "/v1/files/{id}",
           bind(get_file),
           Scope::kRead,
           {.summary = "Tells about a file", .reply = "File"}},
          {"DELETE",
           "/v1/files/{id}",
           bind(delete_file),
           Scope::kSubmit,
           {.summary = "Deletes a file that no unfinished job uses", .reply = "Deleted"}},
          {"GET",
           "/v1/files/{id}/content",
           bind(get_content),
           Scope::kRead,
           {.summary = "Gives a file's bytes", .reply_type = "application/octet-stream"}}};
}

}  // namespace tunefleet::coordinator
