// The OpenAPI document: of each route what stands beside it, of the options what their fields() say.
#pragma once

#include <string>
#include <vector>

#include "server/router.h"

namespace resflow::server {

// Pieces of an operation.
namespace openapi {

Json reference(const std::string& schema);  // {"$ref": "#/components/schemas/NAME"}
Json json_response(const std::string& description, const Json& schema);
Json file_response(const std::string& description, const std::vector<std::string>& types);
Json query(const std::string& name, const std::string& description, const Json& schema);
// A multipart form: of each field its schema.
Json form(const Json& properties, const std::vector<std::string>& required);
Json picture_file(const std::string& description);

struct Parts {
  std::string tag, summary;
  Json responses;                   // "200": json_response(...); errors are added
  Json body = nullptr;              // requestBody
  Json parameters = Json::array();  // of the query
};
Json operation(const Parts& parts);

}  // namespace openapi

Json openapi_document(const std::vector<Route>& routes, const ServeOptions& options);

}  // namespace resflow::server
