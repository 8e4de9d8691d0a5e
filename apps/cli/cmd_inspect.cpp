// resflow inspect FILE: a weight file, or a picture that resflow made.
#include <cstdio>

#include "command.h"
#include "recorded.h"
#include "resflow/core/parse_json.h"
#include "resflow/image/codec.h"
#include "resflow/image/texts.h"

namespace resflow::cli {
namespace {

std::optional<image::ImageInfo> picture_at(const std::string& path) {
  try {
    return image::probe(path);
  } catch (const UserError&) {
    if (!image::format_of_extension(path).empty()) throw;  // a picture, by its name: said what is wrong with it
    return std::nullopt;
  }
}

int inspect_picture(const std::string& path, const image::ImageInfo& info, bool json) {
  auto texts = image::read_texts(path);
  Json manifest;
  if (const auto text = texts.find("resflow"); text != texts.end()) {
    manifest = parse_json(text->second);
    texts.erase(text);
  }
  if (json) {
    const Json report = {{"file", path},          {"format", info.format}, {"width", info.width},
                         {"height", info.height}, {"bits", info.bits},     {"manifest", manifest.is_discarded() ? Json() : manifest},
                         {"texts", texts}};
    std::printf("%s\n", report.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return kGood;
  }
  std::printf("%s: %s, %lldx%lld, %d bits\n", path.c_str(), info.format.c_str(), static_cast<long long>(info.width),
              static_cast<long long>(info.height), info.bits);
  for (const auto& [key, text] : texts) std::printf("  %s: %s\n", key.c_str(), text.c_str());
  if (!manifest.is_object())
    std::printf("  not made by resflow, or its texts were removed\n");
  else
    std::printf("%s\n", manifest.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  return kGood;
}

}  // namespace

Json recorded_manifest(const std::filesystem::path& picture) {
  const auto texts = image::read_texts(picture);
  const auto text = texts.find("resflow");
  Json manifest = text == texts.end() ? Json() : parse_json(text->second);
  if (!manifest.is_object() || !manifest.contains("options"))
    throw_user_error({.where = picture.string(),
                      .problem = "does not say how it was made",
                      .wanted = "a picture that `resflow restore` wrote",
                      .hint = "Its texts may have been removed; `resflow inspect` shows what is there"});
  return manifest;
}

std::function<int()> command_inspect_file(CLI::App& app) {
  const auto inspect_weights = command_inspect(app);
  app.get_option("file")->description("A weight file, or a picture");
  app.footer("Examples:\n  resflow inspect compact.safetensors\n  resflow inspect restored.png        # how it was made");
  return [inspect_weights, &app] {
    const auto path = app.get_option("file")->as<std::string>();
    const auto info = picture_at(path);
    return info ? inspect_picture(path, *info, app.count("--json") > 0) : inspect_weights();
  };
}

}  // namespace resflow::cli
