#include "coordinator/api/openapi_document.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <string>
#include <utility>

#include "coordinator/api/json_body.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

json reference_to(std::string_view schema) {
  return {{"$ref", "#/components/schemas/" + std::string(schema)}};
}

/// JSON of the schema, or bytes where there is none.
json content_of(std::string_view media_type, std::string_view schema) {
  return {{std::string(media_type),
           schema.empty() ? json::object() : json{{"schema", reference_to(schema)}}}};
}

std::string lower_case(std::string_view text) {
  std::string lower;
  for (const unsigned char c : text) lower += static_cast<char>(std::tolower(c));
  return lower;
}

/// "get_v1_files_id_content".
std::string operation_id(const Route& route) {
  std::string id = lower_case(route.method);
  for (const char c : route.pattern) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      id += c;
    } else if (id.back() != '_') {
      id += '_';
    }
  }
  if (id.back() == '_') id.pop_back();
  return id;
}

json schema_of(const QueryParameter& parameter) {
  json schema{{"type", std::string(parameter.type)}};
  if (parameter.low != std::numeric_limits<int64_t>::min()) schema["minimum"] = parameter.low;
  if (parameter.high != std::numeric_limits<int64_t>::max()) schema["maximum"] = parameter.high;
  for (const std::string_view word : parameter.allowed) schema["enum"].push_back(std::string(word));
  return schema;
}

json parameters_of(const Route& route) {
  json parameters = json::array();
  for (size_t open = route.pattern.find('{'); open != std::string_view::npos;
       open = route.pattern.find('{', open + 1)) {
    const size_t close = route.pattern.find('}', open);
    parameters.push_back({{"name", std::string(route.pattern.substr(open + 1, close - open - 1))},
                          {"in", "path"},
                          {"required", true},
                          {"schema", {{"type", "string"}}}});
  }
  for (const QueryParameter& each : route.doc.query) {
    parameters.push_back({{"name", std::string(each.name)},
                          {"in", "query"},
                          {"description", std::string(each.description)},
                          {"schema", schema_of(each)}});
  }
  return parameters;
}

json operation_of(const Route& route) {
  const bool open = route.scope == Scope::kNone;
  json operation{
      {"operationId", operation_id(route)},
      {"summary", std::string(route.doc.summary)},
      {"parameters", parameters_of(route)},
      {"responses",
       {{"200",
         {{"description", "Done"}, {"content", content_of(route.doc.reply_type, route.doc.reply)}}},
        {"default",
         {{"description", "Refused or failed"},
          {"content", content_of("application/json", "Error")}}}}},
      {"security", open ? json::array() : json::array({{{"key", json::array()}}})}};
  if (!open) operation["x-scope"] = std::string(scope_name(route.scope));
  if (route.doc.may_stream) {
    operation["responses"]["200"]["content"]["text/event-stream"] = json::object();
  }
  if (!route.doc.request.empty()) {
    operation["requestBody"] = {{"required", !route.doc.may_lack_body},
                                {"content", content_of(route.doc.request_type, route.doc.request)}};
  }
  return operation;
}

}  // namespace

json openapi_document(const std::vector<Route>& routes) {
  json paths = json::object();
  for (const Route& route : routes) {
    paths[std::string(route.pattern)][lower_case(route.method)] = operation_of(route);
  }
  return {{"openapi", "3.1.0"},
          {"info",
           {{"title", "tunefleet"},
            {"version", "1"},
            {"description",
             "Fine-tuning jobs, their files and models. Where OpenAI has an address for something, "
             "it is the same here."}}},
          {"paths", std::move(paths)},
          {"components",
           {{"schemas", openapi_schemas()},
            {"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
}

std::vector<Route> with_openapi_document(std::vector<Route> routes) {
  routes.push_back({"GET",
                    "/openapi.json",
                    nullptr,
                    Scope::kNone,
                    {.summary = "Gives this document", .reply = "OpenApi"}});
  routes.back().handler = [reply = json_reply(openapi_document(routes))](HttpRequest&) -> ApiReply {
    return reply;
  };
  return routes;
}

}  // namespace tunefleet::coordinator
