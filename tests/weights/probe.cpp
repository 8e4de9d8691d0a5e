// Lets tests in Python reach the file formats.
//   weights_probe copy FROM TO   reads a safetensors file and writes it again
#include <cstdio>
#include <exception>
#include <string>

#include "resflow/weights/safetensors.h"

int main(int count, char** arguments) try {
  if (count != 4 || std::string(arguments[1]) != "copy") return 64;
  const auto file = resflow::weights::TensorFile::open(arguments[2]);
  std::vector<std::pair<std::string, resflow::Tensor>> tensors;
  for (const auto& name : file.names()) tensors.emplace_back(name, file.get(name));
  resflow::weights::write_safetensors(arguments[3], tensors, file.metadata());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
