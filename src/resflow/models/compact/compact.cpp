#include "resflow/models/compact/compact.h"

#include "resflow/core/parse_json.h"
#include "resflow/weights/fingerprint.h"
#include "resflow/weights/load.h"

namespace resflow::models {
namespace {

// Both parts' names under one module, so that loading is strict over the whole file.
class Whole : public nn::Module {
 public:
  Whole(CompactRemover& remover, CompactFlow& flow) {
    adopt("dr", remover);
    adopt("flow", flow);
  }
};

}  // namespace

std::unique_ptr<CompactModel> CompactModel::load(const std::filesystem::path& path, c10::Device device, c10::ScalarType dtype) {
  const auto file = weights::TensorFile::open(path);
  const auto& metadata = file.metadata();
  const auto family = metadata.find("family");
  if (family == metadata.end() || family->second != "compact" || !metadata.contains("config"))
    throw_user_error({.where = path.string(),
                      .problem = "not a compact model",
                      .wanted = "metadata with family = compact and a config",
                      .got = family == metadata.end() ? "none" : family->second});
  CompactConfig config;
  CompactDefaults defaults;
  const auto table = [&](const char* key) {
    const Json json = parse_json(metadata.at(key));
    if (json.is_discarded()) throw_user_error({.where = path.string(), .problem = std::string("metadata '") + key + "' is not JSON"});
    return json;
  };
  fields_from_json(config, table("config"), path.string());
  if (metadata.contains("defaults")) fields_from_json(defaults, table("defaults"), path.string());
  auto model = std::make_unique<CompactModel>(config, defaults);
  Whole whole(model->remover, model->flow);
  weights::load_strict(whole, file, "", {.dtype = dtype, .device = device});
  model->fingerprint = weights::fingerprint(file);
  return model;
}

}  // namespace resflow::models
