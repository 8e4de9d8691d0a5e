#include "resflow/weights/shards.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "resflow/core/config_file.h"

namespace resflow::weights {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndex = ".index.json";
constexpr const char* kIncomplete = "Perhaps an incomplete download?";

class Shards final : public TensorSource {
 public:
  Shards(const fs::path& index, const std::vector<TensorFile>& files) : path_(index), format_(files.front().format()) {
    for (const auto& file : files) {
      metadata_.insert(file.metadata().begin(), file.metadata().end());
      for (const auto& name : file.names()) {
        if (const auto [other, fresh] = holders_.emplace(name, file); !fresh)
          throw_user_error({.where = path_.string(),
                            .problem = fmt::format("tensor '{}' is in two shards", name),
                            .got = fmt::format("{} and {}", other->second.path().filename().string(), file.path().filename().string())});
        names_.push_back(name);
      }
    }
  }

  const fs::path& path() const override { return path_; }
  const std::string& format() const override { return format_; }
  const std::vector<std::string>& names() const override { return names_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  bool contains(std::string_view name) const override { return holders_.find(name) != holders_.end(); }
  std::vector<int64_t> shape(std::string_view name) const override { return holder(name).shape(name); }
  c10::ScalarType dtype(std::string_view name) const override { return holder(name).dtype(name); }
  std::string stored_type(std::string_view name) const override { return holder(name).stored_type(name); }
  Tensor get(std::string_view name) const override { return holder(name).get(name); }
  bool quantised(std::string_view name) const override { return holder(name).quantised(name); }
  nn::QuantisedWeight stored(std::string_view name) const override { return holder(name).stored(name); }
  std::vector<std::string_view> mapped(std::string_view name) const override { return holder(name).mapped(name); }

  const TensorFile& holder(std::string_view name) const {
    const auto found = holders_.find(name);
    if (found == holders_.end()) throw_no_tensor(*this, name);
    return found->second;
  }

 private:
  fs::path path_;
  std::string format_;
  std::vector<std::string> names_;
  std::map<std::string, std::string> metadata_;  // the shards', the first that has a key
  std::map<std::string, TensorFile, std::less<>> holders_;
};

// tensor -> name of its shard
std::map<std::string, std::string> weight_map(const fs::path& index) {
  const Json json = read_json_object(index);
  const auto fail = [&](const std::string& problem, const std::string& got) {
    throw_user_error(
        {.where = index.string(), .problem = problem, .wanted = "{\"weight_map\": {\"tensor\": \"file beside the index\"}}", .got = got});
  };
  const auto found = json.find("weight_map");
  if (found == json.end() || !found->is_object() || found->empty())
    fail("not an index of shards", found == json.end() ? "no weight_map" : found->is_object() ? "an empty one" : found->type_name());
  std::map<std::string, std::string> out;
  for (const auto& [name, file] : found->items()) {
    if (!file.is_string()) fail(fmt::format("weight_map: bad value of '{}'", name), file.type_name());
    const auto shard = file.get<std::string>();
    // A shard elsewhere would let an index read any file of the machine.
    if (shard.empty() || shard == "." || shard == ".." || shard.find('/') != std::string::npos || shard.ends_with(kIndex))
      fail(fmt::format("weight_map: '{}' is in no shard", name), file.dump());
    out.emplace(name, shard);
  }
  return out;
}

bool holds_tensors(const fs::path& file) {
  const auto name = file.filename().string();
  const auto extension = file.extension();
  return extension == ".safetensors" || extension == ".gguf" || extension == ".sft" ||
         (extension == ".bin" && name.find("model") != std::string::npos);
}

}  // namespace

bool is_shard_index(const fs::path& path) { return path.filename().string().ends_with(kIndex); }

fs::path weights_at(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  for (const char* stem : {"diffusion_pytorch_model.safetensors", "model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.bin"})
    for (const auto& name : {std::string(stem) + std::string(kIndex), std::string(stem)})
      if (fs::exists(path / name)) return path / name;
  std::vector<std::string> others;
  for (const auto& item : fs::directory_iterator(path))
    if (holds_tensors(item.path())) others.push_back(item.path().filename().string());
  if (others.size() == 1) return path / others.front();
  std::sort(others.begin(), others.end());
  throw_user_error({.where = path.string(),
                    .problem = others.empty() ? "a folder without weights" : "a folder with several files of weights",
                    .wanted = "diffusion_pytorch_model.safetensors, model.safetensors or an index of shards",
                    .got = others.empty() ? "" : fmt::format("{}", fmt::join(others, ", ")),
                    .hint = others.empty() ? kIncomplete : "Name the file"});
}

std::shared_ptr<const TensorSource> open_shards(const fs::path& index) {
  const auto map = weight_map(index);
  std::set<std::string> shards;
  for (const auto& [name, shard] : map) shards.insert(shard);
  std::vector<std::string> missing;
  for (const auto& shard : shards)
    if (!fs::exists(index.parent_path() / shard)) missing.push_back(shard);
  if (!missing.empty())
    throw_user_error({.where = index.string(),
                      .problem = fmt::format("{} of {} shards are missing: {}", missing.size(), shards.size(), fmt::join(missing, ", ")),
                      .hint = kIncomplete});
  std::vector<TensorFile> files;
  for (const auto& shard : shards) files.push_back(TensorFile::open(index.parent_path() / shard));
  auto out = std::make_shared<Shards>(index, files);
  for (const auto& [name, shard] : map) {
    if (out->contains(name) && out->holder(name).path().filename() == shard) continue;
    throw_user_error({.where = index.string(),
                      .problem = fmt::format("tensor '{}' is not in the shard that the index names", name),
                      .wanted = shard,
                      .got = out->contains(name) ? out->holder(name).path().filename().string() : "in none"});
  }
  return out;
}

}  // namespace resflow::weights
