#include <fmt/format.h>

#include <utility>

#include "coordinator/api/api_context.h"
#include "coordinator/api/form_body.h"
#include "coordinator/api/json_body.h"
#include "coordinator/api/openai_json.h"
#include "coordinator/api/upload_store.h"
#include "proto/utf8_text.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kMaxFilename = 255;
constexpr size_t kMaxMimeType = 127;
constexpr size_t kMd5Digits = 32;

/// OpenAI's upload object; `file` is null until it is completed.
json to_openai_upload(const ApiContext& context, const ChunkedUpload& upload) {
  json shown{{"id", upload.id},
             {"object", "upload"},
             {"bytes", upload.bytes},
             {"created_at", upload.created_at},
             {"expires_at", upload.expires_at},
             {"filename", upload.filename},
             {"purpose", upload.purpose},
             {"status", upload.status},
             {"file", nullptr}};
  if (upload.status != "completed") return shown;
  if (const auto file = context.files.get(upload.owner, upload.file_id)) {
    shown["file"] = to_openai_file(*file);
  }
  return shown;
}

/// The body's `key`, a text of 1 to `most` characters.
ApiResult<std::string> text_field(const json& body, const char* key, size_t most) {
  const auto found = body.find(key);
  const bool given = found != body.end() && found->is_string();
  const std::string text = given ? found->get<std::string>() : "";
  if (!text.empty() && characters_in(text) <= most) return text;
  return api_fail(
      bad_request(fmt::format("{}: must be a text of 1 to {} characters", key, most), key));
}

ApiResult<std::optional<int64_t>> expiry_field(const json& body) {
  const auto found = body.find("expires_after");
  if (found == body.end() || found->is_null()) return std::nullopt;
  if (!found->is_object() || found->value("anchor", json()) != "created_at") {
    return api_fail(bad_request("must be created_at", "expires_after.anchor"));
  }
  const int64_t value = whole_number(found->value("seconds", json())).value_or(0);
  if (const auto fine = check_file_expiry(value); !fine) return api_fail(fine.error());
  return value;
}

ApiReply create_upload(const ApiContext& context, HttpRequest& request) {
  const auto body = read_json_object(request);
  if (!body) return api_fail(body.error());
  const auto filename = text_field(*body, "filename", kMaxFilename);
  if (!filename) return api_fail(filename.error());
  const auto mime_type = text_field(*body, "mime_type", kMaxMimeType);
  if (!mime_type) return api_fail(mime_type.error());
  if (body->value("purpose", json()) != "fine-tune") {
    return api_fail(bad_request("purpose: must be fine-tune", "purpose"));
  }
  const auto bytes = whole_number(body->value("bytes", json()));
  if (!bytes) {
    return api_fail(bad_request("bytes: must be the file's size, a whole number", "bytes"));
  }
  const auto expiry = expiry_field(*body);
  if (!expiry) return api_fail(expiry.error());
  const auto upload = context.uploads.create({.owner = request.owner,
                                              .filename = *filename,
                                              .purpose = "fine-tune",
                                              .mime_type = *mime_type,
                                              .bytes = *bytes,
                                              .file_expires_after_s = *expiry});
  if (!upload) return api_fail(to_share_error(upload.error(), "too_many_uploads"));
  return json_reply(to_openai_upload(context, *upload));
}

/// The form's `data`, on its way to the disk.
struct PartForm {
  bool has_data = false;
  std::unique_ptr<PartWriter> writer;
  bool in_data = false;
};

Status begin_field(PartForm& form, const MultipartPart& part) {
  form.in_data = part.name == "data";
  if (!form.in_data) return {};
  if (form.has_data) return fail(ErrorCode::kInvalidArgument, "data: is given twice");
  form.has_data = true;
  return {};
}

ApiReply add_part(const ApiContext& context, HttpRequest& request) {
  PartForm form;
  auto writer = context.uploads.begin_part(request.owner, request.path_values.at("id"));
  if (!writer) return api_fail(to_storing_error(writer.error()));
  form.writer = std::move(*writer);
  const auto read =
      read_form_body(request, UploadStore::kMaxPartBytes,
                     {.begin = [&](const MultipartPart& part) { return begin_field(form, part); },
                      .data =
                          [&](std::string_view piece) {
                            return form.in_data ? form.writer->write(piece) : Status();
                          },
                      .end = [] { return Status(); }});
  if (!read) return api_fail(read.error());
  if (!form.has_data) return api_fail(bad_request("data: is missing from the form", "data"));
  const auto part = form.writer->commit();
  if (!part) return api_fail(to_storing_error(part.error()));
  return json_reply({{"id", part->id},
                     {"object", "upload.part"},
                     {"created_at", part->created_at},
                     {"upload_id", part->upload_id}});
}

ApiResult<std::vector<std::string>> part_ids_field(const json& body) {
  const json ids = body.value("part_ids", json());
  std::vector<std::string> texts;
  const bool list = ids.is_array() && !ids.empty() && ids.size() <= UploadStore::kMaxParts;
  for (const json& id : list ? ids : json::array()) {
    if (id.is_string()) texts.push_back(id.get<std::string>());
  }
  if (list && texts.size() == ids.size()) return texts;
  return api_fail(bad_request("part_ids: must be a list of the parts' ids, in order", "part_ids"));
}

/// Clients send it in hexadecimal of either case; empty when it is not given.
ApiResult<std::string> md5_field(const json& body) {
  const json md5 = body.value("md5", json());
  if (md5.is_null()) return std::string();
  std::string digits = md5.is_string() ? md5.get<std::string>() : "";
  for (char& c : digits) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  const bool hex = digits.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (hex && digits.size() == kMd5Digits) return digits;
  return api_fail(bad_request("md5: must be 32 hexadecimal digits", "md5"));
}

ApiReply complete_upload(const ApiContext& context, HttpRequest& request) {
  const auto body = read_json_object(request);
  if (!body) return api_fail(body.error());
  const auto part_ids = part_ids_field(*body);
  if (!part_ids) return api_fail(part_ids.error());
  const auto md5 = md5_field(*body);
  if (!md5) return api_fail(md5.error());
  const auto upload =
      context.uploads.complete(request.owner, request.path_values.at("id"), *part_ids, *md5);
  if (!upload) return api_fail(to_storing_error(upload.error()));
  return json_reply(to_openai_upload(context, *upload));
}

ApiReply cancel_upload(const ApiContext& context, HttpRequest& request) {
  const auto upload = context.uploads.cancel(request.owner, request.path_values.at("id"));
  if (!upload) return api_fail(to_api_error(upload.error()));
  return json_reply(to_openai_upload(context, *upload));
}

}  // namespace

std::vector<Route> upload_routes(const ApiContext& context) {
  const auto bind = [&context](auto handler) {
    return [&context, handler](HttpRequest& request) { return handler(context, request); };
  };
  return {
      {"POST",
       "/v1/uploads",
       bind(create_upload),
       Scope::kSubmit,
       {.summary = "Begins an upload in parts", .reply = "Upload", .request = "CreateUpload"}},
      {"POST",
       "/v1/uploads/{id}/parts",
       bind(add_part),
       Scope::kSubmit,
       {.summary = "Takes one part",
        .reply = "UploadPart",
        .request = "CreateUploadPart",
        .request_type = "multipart/form-data"}},
      {"POST",
       "/v1/uploads/{id}/complete",
       bind(complete_upload),
       Scope::kSubmit,
       {.summary = "Joins the parts into a file", .reply = "Upload", .request = "CompleteUpload"}},
      {"POST",
       "/v1/uploads/{id}/cancel",
       bind(cancel_upload),
       Scope::kSubmit,
       {.summary = "Ends an upload and removes its parts", .reply = "Upload"}}};
}

}  // namespace tunefleet::coordinator
