#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "coordinator/api/router.h"

namespace tunefleet::coordinator {

/// The OpenAPI 3.1 document of these routes. It is made of what stands beside the handlers
/// (RouteDoc), so that it tells of every address there is and of no other.
nlohmann::json openapi_document(const std::vector<Route>& routes);

/// `routes` and GET /openapi.json, which serves the document of all of them without a key.
std::vector<Route> with_openapi_document(std::vector<Route> routes);

/// The schemas that the document refers to, by name (openapi_schemas.cpp).
const nlohmann::json& openapi_schemas();
/// Those of the bodies that clients send, as JSON text (openapi_request_schemas.cpp).
const char* openapi_request_schemas();

}  // namespace tunefleet::coordinator
