// Runs autoencoders on tensors of a file, so that the Python tests can compare them with diffusers.
//   autoencoders_probe shapes IN.safetensors OUT.safetensors    the shape of each of the model's tensors
//   autoencoders_probe run IN.safetensors OUT.safetensors       "image" -> "latent", "latent" -> "image"
//   autoencoders_probe file IN.safetensors OUT.safetensors      the same as run, of a model in a file or folder of its own (metadata "file")
// IN's metadata holds the configuration, its tensors under "model." the weights.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "resflow/autoencoders/file.h"
#include "resflow/weights/load.h"
#include "resflow/weights/safetensors.h"

using namespace resflow;

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> args(argv + 1, argv + argc);
    const auto in = weights::TensorFile::open(args.at(1));
    const bool file = args.at(0) == "file";
    const auto model = file ? autoencoders::load_autoencoder(in.metadata().at("file"))
                            : autoencoders::make_autoencoder(Json::parse(in.metadata().at("config")), "config");
    std::vector<std::pair<std::string, Tensor>> out;
    if (args.at(0) == "shapes") {
      for (const auto& tensor : model->named_parameters()) out.emplace_back(tensor.name, at::tensor(tensor.shape, at::kLong));
    } else {
      if (!file) weights::load_strict(*model, in, "model.");
      out = {{"latent", model->encode(in.get("image"))}, {"image", model->decode(in.get("latent"))}};
    }
    weights::write_safetensors(args.at(2), out);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
