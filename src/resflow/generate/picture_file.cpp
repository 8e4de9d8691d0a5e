#include "resflow/generate/picture_file.h"

#include <fmt/format.h>

namespace resflow::generate {

namespace fs = std::filesystem;

std::vector<fs::path> plan_files(const fs::path& output, int64_t n) {
  if (!output.has_filename() || fs::is_directory(output))
    throw_user_error({.where = output.string(), .problem = "a folder", .wanted = "a file's name, such as picture.png"});
  if (!image::can_write(image::format_of_extension(output)))
    throw_user_error({.where = output.string(), .problem = "cannot tell the format to write", .wanted = "an extension .png .jpg .webp .tif .avif"});
  if (n == 1) return {output};
  std::vector<fs::path> out;
  for (int64_t i = 1; i <= n; ++i)
    out.push_back(output.parent_path() / fmt::format("{}-{}{}", output.stem().string(), i, output.extension().string()));
  return out;
}

std::vector<std::string> write_generated(const fs::path& path, const Generated& generated, image::EncodeOptions encode) {
  Json told = generated.manifest;
  told.erase("seconds");
  encode.text["parameters"] = parameters_text(told);
  encode.text["resflow"] = told.dump(-1, ' ', false, Json::error_handler_t::replace);
  return image::write_picture(path, generated.picture, encode);
}

std::string parameters_text(const Json& manifest) {
  const auto& options = manifest.at("options");
  const auto& model = manifest.at("model");
  const auto optional = [&](const char* words, const char* name) {
    return options.contains(name) ? fmt::format("{}: {}, ", words, options.at(name).dump()) : std::string();
  };
  return fmt::format("{}\nSteps: {}, Sampler: {}, {}Seed: {}, Size: {}x{}, {}Model: {}, {}Version: {}", manifest.at("prompt").get<std::string>(),
                     options.at("steps").dump(), options.at("sampler").get<std::string>(), optional("Distilled CFG Scale", "guidance"),
                     options.at("seed").dump(), manifest.at("result").at("width").dump(), manifest.at("result").at("height").dump(),
                     model.contains("commit") ? fmt::format("Model hash: {}, ", model.at("commit").get<std::string>().substr(0, 10)) : "",
                     model.at("name").get<std::string>(), optional("Denoising strength", "strength"), manifest.at("program").get<std::string>());
}

}  // namespace resflow::generate
