// Generated pictures as files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "resflow/generate/generator.h"

namespace resflow::generate {

// Where n pictures go: `output` itself, or with several "NAME-1.png" ... Throws UserError where the extension is of no format that can be written,
// or `output` is a folder.
std::vector<std::filesystem::path> plan_files(const std::filesystem::path& output, int64_t n);

// Writes with the manifest, without its seconds, and Automatic1111's text in the picture: the same picture is the same file. -> what the format
// could not hold. Throws as image::write_picture.
std::vector<std::string> write_generated(const std::filesystem::path& path, const Generated& generated, image::EncodeOptions encode = {});

// Automatic1111's text: the prompt, then "Steps: 28, Sampler: euler, Distilled CFG Scale: 3.5, Seed: 7, Size: 1024x1024, ..." (Forge's words).
std::string parameters_text(const Json& manifest);

}  // namespace resflow::generate
