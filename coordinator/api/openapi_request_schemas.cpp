#include "coordinator/api/openapi_document.h"

namespace tunefleet::coordinator {
namespace {

/// JSON Schema 2020-12. What cannot be said here - whether a model or a file is there, and rules
/// over several keys of a job - is answered with a 400 or 404 that names the field.
constexpr const char* kSchemas = R"json({
  "CreateFile": {"type": "object", "required": ["purpose", "file"], "properties": {
    "purpose": {"const": "fine-tune"}, "file": {"type": "string", "format": "binary"},
    "expires_after[anchor]": {"const": "created_at"},
    "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000}},
    "dependentRequired": {"expires_after[anchor]": ["expires_after[seconds]"],
                          "expires_after[seconds]": ["expires_after[anchor]"]}},
  "Hyperparameter": {"oneOf": [{"const": "auto"},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1000000000}]},
  "CreateJob": {"type": "object", "required": ["model"],
    "description": "OpenAI's fields, and every key of the job file beside them",
    "properties": {
      "model": {"type": "string", "minLength": 1},
      "training_file": {"type": ["string", "null"], "minLength": 1},
      "validation_file": {"type": ["string", "null"], "minLength": 1},
      "suffix": {"type": ["string", "null"], "maxLength": 64,
                 "pattern": "^[^/:\\u0000-\\u001f\\u007f]*$"},
      "seed": {"type": ["integer", "null"], "minimum": 0, "maximum": 9223372036854775807},
      "metadata": {"type": ["object", "null"], "maxProperties": 16,
                   "propertyNames": {"maxLength": 64},
                   "additionalProperties": {"type": "string", "maxLength": 512}},
      "method": {"type": ["object", "null"], "required": ["type"], "properties": {
        "type": {"enum": ["supervised", "dpo"]}, "supervised": {"type": ["object", "null"]},
        "dpo": {"type": ["object", "null"]}}},
      "hyperparameters": {"type": ["object", "null"], "properties": {
        "n_epochs": {"$ref": "#/components/schemas/Hyperparameter"},
        "batch_size": {"$ref": "#/components/schemas/Hyperparameter"},
        "learning_rate_multiplier": {"$ref": "#/components/schemas/Hyperparameter"}}}}},
  "SweepRange": {"type": "object", "required": ["min", "max"], "additionalProperties": false,
    "properties": {"min": {"type": "number"}, "max": {"type": "number"},
      "scale": {"enum": ["linear", "log"]},
      "count": {"type": "integer", "minimum": 2, "maximum": 64}}},
  "CreateSweep": {"allOf": [{"$ref": "#/components/schemas/CreateJob"},
    {"type": "object", "required": ["sweep"],
     "description": "A job's body, and what differs between the jobs", "properties": {
      "sweep": {"type": "object", "required": ["parameters"], "additionalProperties": false,
        "properties": {
          "parameters": {"type": "object", "minProperties": 1, "additionalProperties": {
            "oneOf": [{"type": "array", "minItems": 1, "maxItems": 1000, "uniqueItems": true},
                      {"$ref": "#/components/schemas/SweepRange"}]}},
          "strategy": {"enum": ["grid", "random"]},
          "samples": {"type": "integer", "minimum": 1, "maximum": 64},
          "seed": {"type": "integer", "minimum": 0, "maximum": 1000000000},
          "metric": {"enum": ["eval_loss", "loss"]},
          "halving": {"oneOf": [{"type": "null"}, {"const": "none"},
            {"type": "object", "required": ["min_steps", "max_steps"],
             "additionalProperties": false, "properties": {
               "eta": {"type": "integer", "minimum": 2, "maximum": 64},
               "min_steps": {"type": "integer", "minimum": 1, "maximum": 999999999},
               "max_steps": {"type": "integer", "minimum": 2, "maximum": 1000000000}}}]},
          "max_parallel": {"type": ["integer", "null"], "minimum": 1, "maximum": 64}}}}}]},
  "CreatePermissions": {"type": "object", "required": ["project_ids"], "properties": {
    "project_ids": {"type": "array", "minItems": 1, "maxItems": 100,
                    "items": {"$ref": "#/components/schemas/Tenant"}}}},
  "Tenant": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
  "CreateKey": {"type": "object", "required": ["scopes"], "additionalProperties": false,
    "properties": {
    "tenant": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Tenant"}]},
    "name": {"type": ["string", "null"], "maxLength": 64},
    "scopes": {"$ref": "#/components/schemas/Scopes"},
    "expires_after_s": {"type": ["integer", "null"], "minimum": 60, "maximum": 316224000}}},
  "CreateUpload": {"type": "object", "required": ["filename", "purpose", "bytes", "mime_type"],
    "properties": {
      "filename": {"type": "string", "minLength": 1, "maxLength": 255},
      "purpose": {"const": "fine-tune"},
      "bytes": {"type": "integer", "minimum": 1, "maximum": 8589934592},
      "mime_type": {"type": "string", "minLength": 1, "maxLength": 127},
      "expires_after": {"type": ["object", "null"], "required": ["anchor", "seconds"],
        "properties": {"anchor": {"const": "created_at"},
          "seconds": {"type": "integer", "minimum": 3600, "maximum": 2592000}}}}},
  "CreateUploadPart": {"type": "object", "required": ["data"], "properties": {
    "data": {"type": "string", "format": "binary"}}},
  "CompleteUpload": {"type": "object", "required": ["part_ids"], "properties": {
    "part_ids": {"type": "array", "minItems": 1, "items": {"type": "string"}},
    "md5": {"type": ["string", "null"], "pattern": "^[0-9A-Fa-f]{32}$"}}},
  "StopText": {"type": "string", "minLength": 1, "maxLength": 256},
  "CreateChatCompletion": {"type": "object", "required": ["model", "messages"],
    "additionalProperties": false, "properties": {
    "model": {"type": "string", "minLength": 1},
    "messages": {"type": "array", "minItems": 1, "maxItems": 2048,
                 "items": {"$ref": "#/components/schemas/ChatMessage"}},
    "max_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 1048576},
    "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 1048576},
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "top_k": {"type": ["integer", "null"], "minimum": 0, "maximum": 2147483647},
    "seed": {"type": ["integer", "null"], "minimum": -9223372036854775808,
             "maximum": 18446744073709551615},
    "n": {"enum": [1, null]},
    "stop": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/StopText"},
                       {"type": "array", "maxItems": 4,
                        "items": {"$ref": "#/components/schemas/StopText"}}]},
    "stream": {"type": ["boolean", "null"]},
    "stream_options": {"type": ["object", "null"], "properties": {
      "include_usage": {"type": ["boolean", "null"]}}},
    "user": {}, "metadata": {}, "store": {}, "service_tier": {}, "safety_identifier": {},
    "prompt_cache_key": {}, "parallel_tool_calls": {},
    "frequency_penalty": {"enum": [0, null]}, "presence_penalty": {"enum": [0, null]},
    "logprobs": {"enum": [false, null]}, "top_logprobs": {"enum": [0, null]},
    "logit_bias": {"enum": [{}, null]}, "tools": {"enum": [[], null]},
    "functions": {"enum": [[], null]}, "tool_choice": {"enum": ["none", null]},
    "function_call": {"enum": ["none", null]}, "modalities": {"enum": [["text"], null]},
    "response_format": {"enum": [{"type": "text"}, null]}},
    "if": {"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]},
    "then": {"properties": {"stream": {"const": true}}, "required": ["stream"]}},
  "CreateWebhookEndpoint": {"type": "object", "required": ["name", "url", "event_types"],
    "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 256},
    "url": {"type": "string", "format": "uri", "maxLength": 2048},
    "event_types": {"type": "array", "minItems": 1,
                    "items": {"$ref": "#/components/schemas/WebhookEventType"}}}},
  "ChangeWebhookEndpoint": {"type": "object", "properties": {
    "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 256},
    "url": {"type": ["string", "null"], "format": "uri", "maxLength": 2048},
    "event_types": {"type": ["array", "null"], "minItems": 1,
                    "items": {"$ref": "#/components/schemas/WebhookEventType"}}}},
  "RotateWebhookSecret": {"type": "object", "properties": {
    "keep_old_secret_active_for_24_hours": {"type": "boolean"}}},
  "TestWebhook": {"type": "object", "required": ["event_type"], "properties": {
    "event_type": {"$ref": "#/components/schemas/WebhookEventType"}}}
})json";

}  // namespace

const char* openapi_request_schemas() { return kSchemas; }

}  // namespace tunefleet::coordinator
