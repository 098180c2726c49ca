#include <string>

#include "coordinator/api/openapi_document.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

/// Of replies, and of what both sides send. JSON Schema 2020-12. `required` is what a client may
/// rely on; fields beside these are possible everywhere, since OpenAI's clients keep them.
constexpr const char* kSchemas = R"json({
  "Error": {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["message", "type", "param", "code"], "properties": {
      "message": {"type": "string"}, "type": {"type": "string"},
      "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}}}}},
  "Deleted": {"type": "object", "required": ["id", "object", "deleted"], "properties": {
    "id": {"type": "string"}, "object": {"type": "string"}, "deleted": {"type": "boolean"}}},
  "Health": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
  "OpenApi": {"type": "object", "required": ["openapi", "info", "paths"]},
  "File": {"type": "object",
    "required": ["id", "object", "bytes", "created_at", "filename", "purpose", "status"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "file"}, "bytes": {"type": "integer"},
      "created_at": {"type": "integer"}, "expires_at": {"type": "integer"},
      "filename": {"type": "string"}, "purpose": {"type": "string"},
      "status": {"enum": ["uploaded", "processed", "error"]},
      "status_details": {"type": ["string", "null"]}, "rows": {"type": "integer"},
      "preferences": {"type": "integer"}}},
  "Job": {"type": "object",
    "required": ["id", "object", "created_at", "finished_at", "model", "fine_tuned_model",
                 "organization_id", "status", "hyperparameters", "training_file",
                 "validation_file", "result_files", "trained_tokens", "seed", "error"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "fine_tuning.job"},
      "created_at": {"type": "integer"}, "finished_at": {"type": ["integer", "null"]},
      "model": {"type": "string"}, "fine_tuned_model": {"type": ["string", "null"]},
      "organization_id": {"type": "string"},
      "status": {"enum": ["validating_files", "queued", "running", "succeeded", "failed",
                          "cancelled"]},
      "hyperparameters": {"type": "object"}, "method": {"type": "object"},
      "training_file": {"type": ["string", "null"]}, "validation_file": {"type": ["string", "null"]},
      "result_files": {"type": "array", "items": {"type": "string"}},
      "trained_tokens": {"type": ["integer", "null"]}, "seed": {"type": "integer"},
      "error": {"type": ["object", "null"]}, "metadata": {"type": ["object", "null"]},
      "queue_position": {"type": ["integer", "null"]},
      "pending_reason": {"type": ["string", "null"]}, "progress": {"type": ["object", "null"]},
      "spec": {"type": "object"}, "result": {"type": ["object", "null"]},
      "failure": {"type": ["object", "null"]}}},
  "Plan": {"type": "object",
    "required": ["object", "model", "trainable", "steps", "memory", "time", "start", "spec"],
    "properties": {
      "object": {"const": "fine_tuning.job.plan"}, "model": {"type": "string"},
      "trainable": {"type": "object", "required": ["total", "of", "tuners", "unknown"],
        "properties": {"total": {"type": ["integer", "null"]}, "of": {"type": "integer"},
          "tuners": {"type": "array", "items": {"type": "object"}},
          "unknown": {"type": ["string", "null"]}}},
      "steps": {"type": "object", "required": ["total", "per_epoch", "rows", "bound"],
        "properties": {"total": {"type": "integer"}, "per_epoch": {"type": "integer"},
          "rows": {"type": "integer"}, "bound": {"enum": ["exact", "upper", "lower"]},
          "note": {"type": ["string", "null"]}}},
      "memory": {"type": "object", "required": ["per_rank", "parts", "unknown"], "properties": {
        "per_rank": {"type": ["integer", "null"]}, "parts": {"type": ["object", "null"]},
        "unknown": {"type": ["string", "null"]}}},
      "time": {"type": "object",
        "required": ["seconds", "device_seconds_per_step", "device_hours", "jobs", "unknown"],
        "properties": {"seconds": {"type": ["number", "null"]},
          "device_seconds_per_step": {"type": ["number", "null"]},
          "device_hours": {"type": ["number", "null"]}, "jobs": {"type": "integer"},
          "unknown": {"type": ["string", "null"]}}},
      "start": {"type": "object",
        "required": ["now", "queue_position", "pending_reason", "estimated_start"],
        "properties": {"now": {"type": "boolean"}, "queue_position": {"type": ["integer", "null"]},
          "pending_reason": {"type": ["string", "null"]},
          "estimated_start": {"type": ["integer", "null"]}}},
      "spec": {"type": "object"}}},
  "Sweep": {"type": "object",
    "required": ["id", "object", "created_at", "finished_at", "status", "model", "sweep", "metric",
                 "halving", "max_parallel", "job_count"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "fine_tuning.sweep"},
      "created_at": {"type": "integer"}, "finished_at": {"type": ["integer", "null"]},
      "status": {"enum": ["running", "cancelling", "succeeded", "failed", "cancelled"]},
      "model": {"type": "string"}, "sweep": {"type": "object"}, "metric": {"type": "string"},
      "halving": {"type": ["object", "null"]}, "max_parallel": {"type": "integer"},
      "job_count": {"type": "integer"}, "jobs": {"type": "array", "items": {"type": "object"}},
      "best": {"type": ["object", "null"]}}},
  "Event": {"type": "object",
    "required": ["id", "object", "created_at", "level", "message", "type", "number"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "fine_tuning.job.event"},
      "created_at": {"type": "integer"}, "level": {"enum": ["info", "warn", "error"]},
      "message": {"type": "string"}, "type": {"enum": ["message", "metrics"]},
      "data": {"type": ["object", "null"]}, "number": {"type": "integer", "minimum": 1}}},
  "Checkpoint": {"type": "object",
    "required": ["id", "object", "created_at", "fine_tuned_model_checkpoint", "fine_tuning_job_id",
                 "step_number", "metrics"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "fine_tuning.job.checkpoint"},
      "created_at": {"type": "integer"}, "fine_tuned_model_checkpoint": {"type": "string"},
      "fine_tuning_job_id": {"type": "string"}, "step_number": {"type": "integer"},
      "metrics": {"type": "object"}}},
  "Model": {"type": "object", "required": ["id", "object", "created", "owned_by"], "properties": {
    "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"},
    "owned_by": {"type": "string"}, "job": {"type": ["string", "null"]},
    "checkpoint": {"type": ["string", "null"]}}},
  "Permission": {"type": "object", "required": ["id", "object", "created_at", "project_id"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "checkpoint.permission"},
      "created_at": {"type": "integer"}, "project_id": {"type": "string"}}},
  "Scopes": {"type": "array", "minItems": 1, "items": {"enum": ["read", "submit", "admin"]}},
  "Key": {"type": "object",
    "required": ["id", "object", "tenant", "name", "prefix", "scopes", "created_at", "expires_at",
                 "expired"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "key"}, "tenant": {"type": "string"},
      "name": {"type": "string"}, "prefix": {"type": "string"},
      "scopes": {"$ref": "#/components/schemas/Scopes"}, "created_at": {"type": "integer"},
      "expires_at": {"type": ["integer", "null"]}, "expired": {"type": "boolean"}}},
  "CreatedKey": {"allOf": [{"$ref": "#/components/schemas/Key"},
    {"type": "object", "required": ["key"], "properties": {"key": {"type": "string"}}}]},
  "Upload": {"type": "object",
    "required": ["id", "object", "bytes", "created_at", "expires_at", "filename", "purpose",
                 "status"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "upload"}, "bytes": {"type": "integer"},
      "created_at": {"type": "integer"}, "expires_at": {"type": "integer"},
      "filename": {"type": "string"}, "purpose": {"type": "string"},
      "status": {"enum": ["pending", "completed", "cancelled", "expired"]},
      "file": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/File"}]}}},
  "UploadPart": {"type": "object", "required": ["id", "object", "created_at", "upload_id"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "upload.part"},
      "created_at": {"type": "integer"}, "upload_id": {"type": "string"}}},
  "ChatMessage": {"type": "object", "required": ["role", "content"], "properties": {
    "role": {"enum": ["system", "developer", "user", "assistant"]},
    "content": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object",
      "required": ["type", "text"],
      "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}}]},
    "tool_calls": {"type": "null"}, "function_call": {"type": "null"},
    "audio": {"type": "null"}}},
  "ChatCompletion": {"type": "object",
    "description": "With stream, chunks of the same head with a delta in place of the message",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
      "id": {"type": "string"}, "object": {"const": "chat.completion"},
      "created": {"type": "integer"}, "model": {"type": "string"},
      "choices": {"type": "array", "items": {"type": "object",
        "required": ["index", "message", "finish_reason"], "properties": {
          "index": {"type": "integer"}, "message": {"$ref": "#/components/schemas/ChatMessage"},
          "finish_reason": {"enum": ["stop", "length"]}}}},
      "usage": {"type": "object",
        "required": ["prompt_tokens", "completion_tokens", "total_tokens"], "properties": {
          "prompt_tokens": {"type": "integer"}, "completion_tokens": {"type": "integer"},
          "total_tokens": {"type": "integer"}}}}},
  "WebhookEndpoint": {"type": "object", "required": ["id", "object"], "properties": {
    "id": {"type": "string"}, "object": {"type": "string"}, "url": {"type": "string"},
    "name": {"type": ["string", "null"]},
    "event_types": {"type": "array", "items": {"type": "string"}}}},
  "WebhookEventType": {"enum": ["fine_tuning.job.succeeded", "fine_tuning.job.failed",
                                "fine_tuning.job.cancelled"]},
  "WebhookTest": {"type": "object",
    "required": ["object", "webhook_endpoint_id", "event_type", "success", "status_code"],
    "properties": {"object": {"const": "webhook_endpoint.test"},
      "webhook_endpoint_id": {"type": "string"},
      "event_type": {"$ref": "#/components/schemas/WebhookEventType"},
      "success": {"const": true}, "status_code": {"type": "integer"}}},
  "WebhookEventTypes": {"type": "object", "required": ["object", "data"], "properties": {
    "object": {"const": "list"},
    "data": {"type": "array", "items": {"$ref": "#/components/schemas/WebhookEventType"}}}},
  "Fleet": {"type": "object", "required": ["object", "agents", "queued"], "properties": {
    "object": {"const": "fleet"}, "queued": {"type": "integer"},
    "agents": {"type": "array", "items": {"type": "object"}}}}
})json";

json page_of(const char* item) {
  return {
      {"type", "object"},
      {"required", {"object", "data", "has_more"}},
      {"properties",
       {{"object", {{"const", "list"}}},
        {"data",
         {{"type", "array"}, {"items", {{"$ref", "#/components/schemas/" + std::string(item)}}}}},
        {"has_more", {{"type", "boolean"}}},
        {"first_id", {{"type", {"string", "null"}}}},
        {"last_id", {{"type", {"string", "null"}}}}}}};
}

json all_schemas() {
  json schemas = json::parse(kSchemas);
  schemas.update(json::parse(openapi_request_schemas()));
  for (const char* item : {"File", "Job", "Event", "Checkpoint", "Model", "Permission", "Key",
                           "Sweep", "WebhookEndpoint"}) {
    schemas[std::string(item) + "Page"] = page_of(item);
  }
  return schemas;
}

}  // namespace

const json& openapi_schemas() {
  static const json schemas = all_schemas();
  return schemas;
}

}  // namespace tunefleet::coordinator
