// Lets tests in Python reach the file formats.
//   weights_probe copy FROM TO   reads a file of tensors and writes them as safetensors
//   weights_probe lora FROM TO   reads an adapter: TO has NAME.down, .up, .bias and .scale of each module, and its replacements by name
//   weights_probe lora-save FROM TO   reads an adapter and writes it as diffusers does
//   weights_probe check FOLDER   opens each file and reads every tensor; a line a file, by name: "ok", or the message to the user
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "resflow/core/error.h"
#include "resflow/weights/lora_save.h"
#include "resflow/weights/safetensors.h"
#include "resflow/weights/tensor_file.h"

namespace {

using Tensors = std::vector<std::pair<std::string, resflow::Tensor>>;

Tensors tensors_of(const resflow::weights::TensorFile& file) {
  Tensors tensors;
  for (const auto& name : file.names()) tensors.emplace_back(name, file.get(name).clone());
  return tensors;
}

Tensors tensors_of(const resflow::weights::Lora& lora) {
  Tensors tensors;
  for (const auto& module : lora.modules) {
    for (const auto& [name, part] : {std::pair(".down", module.down), {".up", module.up}, {".bias", module.bias}})
      if (part.defined()) tensors.emplace_back(module.name + name, part.clone());
    tensors.emplace_back(module.name + ".scale", at::scalar_tensor(module.scale, at::kDouble));
  }
  for (const auto& [name, tensor] : lora.replacements) tensors.emplace_back(name, tensor.clone());
  return tensors;
}

void check(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& item : std::filesystem::directory_iterator(folder)) files.push_back(item.path());
  std::sort(files.begin(), files.end());
  for (const auto& path : files) try {
      tensors_of(resflow::weights::TensorFile::open(path));
      std::puts("ok");
    } catch (const resflow::UserError& error) {
      std::puts(error.what());
    }
}

}  // namespace

int main(int count, char** arguments) try {
  const std::vector<std::string> args(arguments + 1, arguments + count);
  if (args.size() == 2 && args[0] == "check") {
    check(args[1]);
  } else if (args.size() == 3 && args[0] == "copy") {
    const auto file = resflow::weights::TensorFile::open(args[1]);
    resflow::weights::write_safetensors(args[2], tensors_of(file), file.metadata());
  } else if (args.size() == 3 && args[0] == "lora") {
    const auto lora = resflow::weights::read_lora(resflow::weights::TensorFile::open(args[1]));
    resflow::weights::write_safetensors(args[2], tensors_of(lora), {{"summary", lora_summary(lora).dump()}});
  } else if (args.size() == 3 && args[0] == "lora-save") {
    resflow::weights::write_lora(args[2], resflow::weights::read_lora(resflow::weights::TensorFile::open(args[1])), "a base");
  } else {
    return 64;
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
