#include "server/openapi.h"

#include "server/job_options.h"
#include "server/schema.h"

namespace resflow::server {
namespace openapi {

Json reference(const std::string& schema) { return {{"$ref", "#/components/schemas/" + schema}}; }

Json json_response(const std::string& description, const Json& schema) {
  return {{"description", description}, {"content", {{"application/json", {{"schema", schema}}}}}};
}

Json file_response(const std::string& description, const std::vector<std::string>& types) {
  Json content = Json::object();
  for (const auto& type : types) content[type] = {{"schema", type == "text/plain" ? Json{{"type", "string"}} : Json::object()}};
  return {{"description", description}, {"content", content}};
}

Json query(const std::string& name, const std::string& description, const Json& schema) {
  return {{"name", name}, {"in", "query"}, {"description", description}, {"schema", schema}};
}

Json form(const Json& properties, const std::vector<std::string>& required) {
  return {{"required", true},
          {"content", {{"multipart/form-data", {{"schema", {{"type", "object"}, {"required", required}, {"properties", properties}}}}}}}};
}

Json picture_file(const std::string& description) {
  return {{"type", "string"}, {"contentMediaType", "application/octet-stream"}, {"description", description}};
}

Json operation(const Parts& parts) {
  Json out = {{"tags", {parts.tag}}, {"summary", parts.summary}};
  if (!parts.parameters.empty()) out["parameters"] = parts.parameters;
  if (!parts.body.is_null()) out["requestBody"] = parts.body;
  out["responses"] = parts.responses;
  return out;
}

}  // namespace openapi

namespace {

using openapi::reference;

Json nullable(Json schema) { return {{"anyOf", {schema, {{"type", "null"}}}}}; }

Json object(const Json& properties, const std::vector<std::string>& required) {
  return {{"type", "object"}, {"properties", properties}, {"required", required}};
}

Json text() { return {{"type", "string"}}; }
Json whole() { return {{"type", "integer"}}; }

Json group_schema(const Json& group) {
  Json properties = Json::object();
  for (const auto& field : group.at("fields")) properties[field.at("name").get<std::string>()] = json_schema(field);
  return {{"type", "object"}, {"title", group.at("title")}, {"properties", properties}, {"additionalProperties", false}};
}

Json job_schema() {
  const Json time = nullable({{"type", "string"}, {"format", "date-time"}});
  return object({{"id", {{"type", "string"}, {"pattern", "^[0-9a-f]{32}$"}}},
                 {"state", {{"type", "string"}, {"enum", state_names()}}},
                 {"priority", whole()},
                 {"name", text()},
                 {"created", time},
                 {"started", time},
                 {"finished", time},
                 {"position", {{"type", "integer"}, {"minimum", 1}, {"description", "In the queue; 1 = the next one"}}},
                 {"attempts", whole()},
                 {"progress", nullable(reference("Progress"))},
                 {"source", object({{"width", whole()}, {"height", whole()}, {"format", text()}}, {"width", "height"})},
                 {"result", nullable(object({{"width", whole()}, {"height", whole()}, {"format", text()}, {"bytes", whole()}}, {"width", "height"}))},
                 {"error", nullable(object({{"code", text()}, {"message", text()}, {"hint", text()}}, {"code", "message"}))},
                 {"options", {{"type", "object"}}},
                 {"manifest", {{"type", {"object", "null"}}}},
                 {"searched", {{"type", "boolean"}}},
                 {"links", {{"type", "object"}, {"additionalProperties", text()}}}},
                {"id", "state", "priority", "name", "created", "source", "links"});
}

Json components(const ServeOptions& options) {
  const Json schema = options_schema(options);
  Json groups = Json::object();
  for (const auto& group : schema.at("groups")) groups[group.at("name").get<std::string>()] = group_schema(group);
  groups["priority"] = {{"type", "integer"}, {"minimum", -kMostPriority}, {"maximum", kMostPriority}, {"default", 0}};
  const Json number_or_null = {{"type", {"number", "null"}}};
  return {
      {"JobOptions", {{"type", "object"}, {"properties", groups}, {"additionalProperties", false}}},
      {"Job", job_schema()},
      {"Progress", object({{"stage", text()},
                           {"done", whole()},
                           {"of", {{"type", {"integer", "null"}}}},
                           {"fraction", number_or_null},
                           {"seconds_left", number_or_null}},
                          {"stage", "done"})},
      {"Candidate", object({{"id", whole()},
                            {"tile", whole()},
                            {"scores", {{"type", "object"}, {"additionalProperties", number_or_null}}},
                            {"rank", number_or_null},
                            {"winner", {{"type", "boolean"}}},
                            {"finished", {{"type", "boolean"}}},
                            {"thumbnail", {{"type", {"string", "null"}}}}},
                           {"id", "tile", "scores", "winner", "finished"})},
      {"Error", object({{"error", object({{"code", text()}, {"message", text()}, {"hint", text()}}, {"code", "message"})}}, {"error"})},
      {"OpenAIError",
       object({{"error",
                object({{"message", text()}, {"type", text()}, {"param", {{"type", {"string", "null"}}}}, {"code", {{"type", {"string", "null"}}}}},
                       {"message", "type"})}},
              {"error"})},
  };
}

// {id} and the like.
Json path_parameters(const std::string& path) {
  Json out = Json::array();
  for (size_t at = 0; (at = path.find('{', at)) != std::string::npos; ++at) {
    const std::string name = path.substr(at + 1, path.find('}', at) - at - 1);
    out.push_back({{"name", name}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}});
  }
  return out;
}

}  // namespace

Json openapi_document(const std::vector<Route>& routes, const ServeOptions& options) {
  Json paths = Json::object();
  for (const auto& route : routes) {
    Json operation = route.operation;
    Json parameters = path_parameters(route.path);
    for (const auto& parameter : operation.value("parameters", Json::array())) parameters.push_back(parameter);
    if (!parameters.empty()) operation["parameters"] = parameters;
    operation["responses"]["default"] = openapi::json_response("What was wrong", reference(route.failure ? "OpenAIError" : "Error"));
    if (route.open) operation["security"] = Json::array({Json::object()});
    std::string method = route.method;
    std::transform(method.begin(), method.end(), method.begin(), [](unsigned char c) { return std::tolower(c); });
    paths[route.path][method] = operation;
  }
  Json out = {{"openapi", "3.1.0"},
              {"info",
               {{"title", "resflow"},
                {"version", RESFLOW_VERSION},
                {"license", {{"name", "MIT"}}},
                {"description", "Restores photographs. Native jobs under /v1/jobs; OpenAI's image edits and Automatic1111's extras beside them."}}},
              {"servers", Json::array({{{"url", "/"}}})},
              {"paths", paths},
              {"components", {{"schemas", components(options)}}}};
  if (!options.api_key.empty()) {
    out["components"]["securitySchemes"] = {{"key", {{"type", "http"}, {"scheme", "bearer"}}}};
    out["security"] = Json::array({{{"key", Json::array()}}});
  }
  return out;
}

}  // namespace resflow::server
