// Configurations and indices of shards, whatever bytes they hold. The first byte says which is meant, the rest is the file: "t", a FLUX transformer;
// "a", an autoencoder; "i", the index of shards that lie beside it.
#include <ATen/ATen.h>
#include <unistd.h>

#include <fstream>

#include "resflow/autoencoders/autoencoder.h"
#include "resflow/core/config_file.h"
#include "resflow/models/flux/config.h"
#include "resflow/weights/safetensors.h"
#include "target.h"

using namespace resflow;

namespace {

// With two shards of a tensor each; taken away at the program's end.
struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "resflow-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path = name;
    weights::write_safetensors(path / "a.safetensors", {{"a", at::ones({2, 3})}});
    weights::write_safetensors(path / "b.safetensors", {{"b", at::ones({4})}});
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

void read_index(std::string_view text) {
  static const Folder folder;
  const auto index = folder.path / "model.safetensors.index.json";
  std::ofstream(index, std::ios::binary) << text;
  fuzz::read_tensors(index);
}

void read_model_config(char kind, const uint8_t* data, size_t size) {
  const auto path = fuzz::file_of(data, size);
  if (kind == 'a') {
    autoencoders::make_autoencoder(read_json_object(path), "config.json");
  } else {
    read_config<models::FluxConfig>(path).check("config.json");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const char kind = static_cast<char>(data[0]);
  return fuzz::run([&] {
    if (kind == 'i') {
      read_index({reinterpret_cast<const char*>(data + 1), size - 1});
    } else {
      read_model_config(kind, data + 1, size - 1);
    }
  });
}
