// Models in several files, written here, whole and with each defect that an index can have.
#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/weights/load.h"
#include "resflow/weights/safetensors.h"

using namespace resflow;
using weights::TensorFile;

namespace {

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kWhole =
    R"({"metadata": {"total_size": 20}, "weight_map": {"a.weight": "m-1.safetensors", "a.bias": "m-1.safetensors", "b": "m-2.safetensors"}})";

// Two shards and their index, gone at the end.
struct Model {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("resflow-shards-" + std::to_string(::getpid()));
  Model() {
    std::filesystem::create_directories(path);
    weights::write_safetensors(path / "m-1.safetensors", {{"a.weight", at::full({1, 2}, 3.0)}, {"a.bias", at::full({1}, 4.0)}}, {{"format", "pt"}});
    weights::write_safetensors(path / "m-2.safetensors", {{"b", at::full({2}, 5.0)}});
    write_text_atomically(path / kIndex, kWhole);
  }
  ~Model() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string error() const {
    try {
      TensorFile::open(path);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }
};

struct Small : nn::Module {
  Small() {
    declare("a.weight", weight, {1, 2});
    declare("a.bias", bias, {1});
    declare("b", b, {2});
  }
  Tensor weight, bias, b;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("shards are one file to the loader, whether the folder or the index is named") {
  const Model model;
  for (const auto& path : {model.path, model.path / kIndex}) {
    const auto file = TensorFile::open(path);
    CHECK(file.names().size() == 3);
    CHECK(file.path() == model.path / kIndex);
    CHECK(file.format() == "safetensors");
    CHECK(file.metadata().at("format") == "pt");
    CHECK(file.shape("a.weight") == std::vector<int64_t>{1, 2});
    Small module;
    weights::load_strict(module, file);
    CHECK(module.weight.sum().item<float>() == 6);
    CHECK(module.b.sum().item<float>() == 10);
  }
}

TEST_CASE("a tensor outlives the handle to its shards, and shares their bytes") {
  const Model model;
  const auto file = std::make_optional(TensorFile::open(model.path));
  const Tensor one = file->get("b"), two = file->get("b");
  CHECK(one.data_ptr() == two.data_ptr());
  Tensor kept;
  {
    const auto inner = TensorFile::open(model.path);
    kept = inner.get("b");
  }
  CHECK(kept.sum().item<float>() == 10);
}

TEST_CASE("a folder's weights are found by their usual names, or where there are no others") {
  const Model model;
  std::filesystem::remove(model.path / kIndex);
  CHECK(has(model.error(), "several files of weights"));
  CHECK(has(model.error(), "m-1.safetensors, m-2.safetensors"));
  std::filesystem::remove(model.path / "m-2.safetensors");
  CHECK(TensorFile::open(model.path).names().size() == 2);
  std::filesystem::rename(model.path / "m-1.safetensors", model.path / "diffusion_pytorch_model.safetensors");
  CHECK(TensorFile::open(model.path).names().size() == 2);
  std::filesystem::remove(model.path / "diffusion_pytorch_model.safetensors");
  CHECK(has(model.error(), "without weights"));
}

TEST_CASE("missing shards are all named") {
  const Model model;
  std::filesystem::remove(model.path / "m-1.safetensors");
  CHECK(has(model.error(), "1 of 2 shards are missing: m-1.safetensors"));
  std::filesystem::remove(model.path / "m-2.safetensors");
  CHECK(has(model.error(), "2 of 2 shards are missing: m-1.safetensors, m-2.safetensors"));
}

TEST_CASE("an index that lies, or is none, is told") {
  const Model model;
  const auto told = [&](const std::string& index) {
    write_text_atomically(model.path / kIndex, index);
    return model.error();
  };
  const auto mapped = [&](const std::string& map) { return told(R"({"weight_map": )" + map + "}"); };
  CHECK(has(told("{"), "not JSON"));
  CHECK(has(told("[]"), "wanted an object"));
  CHECK(has(told("{}"), "no weight_map"));
  CHECK(has(mapped("{}"), "an empty one"));
  CHECK(has(mapped("[1]"), "got array"));
  CHECK(has(mapped(R"({"b": 3})"), "bad value of 'b'"));
  CHECK(has(mapped(R"({"b": "../m-2.safetensors"})"), "'b' is in no shard"));
  CHECK(has(mapped(R"({"b": ".."})"), "'b' is in no shard"));
  CHECK(has(mapped(R"({"b": "model.safetensors.index.json"})"), "'b' is in no shard"));
  CHECK(has(mapped(R"({"b": "m-2.safetensors", "c": "m-2.safetensors"})"), "tensor 'c' is not in the shard that the index names"));
  CHECK(has(mapped(R"({"b": "m-2.safetensors", "a.bias": "m-2.safetensors"})"), "tensor 'a.bias' is not in the shard"));
  weights::write_safetensors(model.path / "m-2.safetensors", {{"b", at::zeros({2})}, {"a.bias", at::zeros({1})}});
  CHECK(has(told(kWhole), "tensor 'a.bias' is in two shards"));
  write_text_atomically(model.path / "m-2.safetensors", "short");
  CHECK(has(told(kWhole), "m-2.safetensors: too short for a header"));
}

TEST_CASE("what the index leaves out is not hidden from strict loading") {
  const Model model;
  weights::write_safetensors(model.path / "m-2.safetensors", {{"b", at::zeros({2})}, {"more", at::zeros({1})}});
  Small module;
  CHECK_THROWS_WITH_AS(weights::load_strict(module, TensorFile::open(model.path)), doctest::Contains("more"), UserError);
}
