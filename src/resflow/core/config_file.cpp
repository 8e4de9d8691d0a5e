#include "resflow/core/config_file.h"

#include "resflow/core/files.h"
#include "resflow/core/parse_json.h"

namespace resflow {

Json read_json_object(const std::filesystem::path& path) {
  Json json = parse_json(read_text(path));
  if (json.is_discarded()) throw_user_error({.where = path.string(), .problem = "not JSON", .hint = "Perhaps an incomplete download?"});
  if (!json.is_object()) throw_user_error({.where = path.string(), .problem = "not a configuration", .wanted = "an object", .got = json.type_name()});
  return json;
}

}  // namespace resflow
