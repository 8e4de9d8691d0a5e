#include "resflow/samples/sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "resflow/captioning/captioner.h"
#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/json.h"
#include "resflow/core/parse_json.h"
#include "resflow/image/codec.h"
#include "resflow/restore/picture_list.h"
#include "resflow/samples/tar_shard.h"

namespace resflow::samples {
namespace {

namespace fs = std::filesystem;
using Take = std::function<void(const Sample&)>;

constexpr std::array<std::string_view, 5> kTar = {".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz"};
constexpr std::string_view kList = ".jsonl";

bool is_tar(const std::string& path) {
  return std::any_of(kTar.begin(), kTar.end(), [&](std::string_view ending) { return path.ends_with(ending); });
}

std::function<Tensor()> reader_of(const fs::path& path) {
  return [path] { return image::read_picture(path).pixels; };
}

Sample sample_of(const fs::path& picture) {
  return {.name = picture.stem(), .file = picture.filename(), .where = picture.string(), .text = {}, .pixels = reader_of(picture)};
}

void take_file(const fs::path& picture, const Take& take) {
  Sample sample = sample_of(picture);
  const auto sidecar = captioning::sidecar_of(picture);
  std::error_code none;
  if (fs::exists(sidecar, none)) sample.text = captioning::tidy_caption(read_text(sidecar));
  take(sample);
}

// The first of the keys that is there; nullopt where none is. Throws UserError for one that is no text.
std::optional<std::string> text_of(const Json& json, std::initializer_list<const char*> keys, const std::string& where) {
  for (const char* key : keys) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) continue;
    if (!found->is_string()) throw_user_error({.where = where, .problem = fmt::format("'{}' is no text", key), .got = found->type_name()});
    return found->get<std::string>();
  }
  return std::nullopt;
}

Sample sample_of_line(const std::string& line, const fs::path& folder, const std::string& where) {
  const Json json = parse_json(line);
  if (!json.is_object()) throw_user_error({.where = where, .problem = "not a JSON object", .wanted = R"({"image": path, "caption": text})"});
  const auto picture = text_of(json, {"image", "file_name"}, where);
  if (!picture || picture->empty()) throw_user_error({.where = where, .problem = "names no picture", .wanted = R"({"image": path})"});
  const auto there = [&](const std::string& name) {
    const fs::path path = folder / name;  // an absolute one stays as it is
    std::error_code none;
    if (!fs::is_regular_file(path, none)) throw_user_error({.where = where, .problem = path.string() + ": no such file"});
    return path;
  };
  Sample sample = sample_of(there(*picture));
  if (const auto text = text_of(json, {"caption", "text"}, where)) sample.text = captioning::tidy_caption(*text);
  if (const auto poor = text_of(json, {"poor"}, where)) sample.poor = reader_of(there(*poor));
  return sample;
}

void each_in_list(const fs::path& list, const Take& take, std::vector<Skipped>& skipped) {
  std::ifstream lines(list);
  if (!lines) skipped.push_back({list.string(), "cannot be read"});
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto where = fmt::format("{}, line {}", list.string(), number);
    std::optional<Sample> sample;
    try {
      sample = sample_of_line(line, list.parent_path(), where);
    } catch (const UserError& error) {
      skipped.push_back({where, error.what()});
    }
    if (sample) take(*sample);
  }
}

}  // namespace

bool is_sample_file(const std::string& path) { return is_tar(path) || path.ends_with(kList); }

std::vector<Skipped> each_sample(const std::vector<std::string>& inputs, const Reading& reading, const Take& take) {
  std::vector<Skipped> skipped;
  for (const auto& path : restore::list_pictures(inputs)) {
    if (is_tar(path)) {
      each_in_tar(path, reading, take, skipped);
    } else if (path.string().ends_with(kList)) {
      each_in_list(path, take, skipped);
    } else {
      take_file(path, take);
    }
  }
  return skipped;
}

}  // namespace resflow::samples
