// resflow convert: a model's file into another program's naming, format or number type.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "command.h"
#include "resflow/autoencoders/file.h"
#include "resflow/core/config_file.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/models/flux/file.h"
#include "resflow/models/fusion/control_file.h"
#include "resflow/weights/autoencoder_names.h"
#include "resflow/weights/flux_names.h"
#include "resflow/weights/gguf.h"
#include "resflow/weights/safetensors.h"
#include "resflow/weights/storage.h"

namespace resflow::cli {
namespace {

namespace fs = std::filesystem;
using weights::TensorFile;

constexpr const char* kConfig = "resflow.config";

struct ConvertOptions {
  std::string input, output, to, type, part = "auto";
};

// A model found in a file, and what a folder of diffusers says beside its weights.
struct Found {
  TensorFile diffusers, bfl;
  Json config;
  bool transformer, control = false;
};

Found find(const ConvertOptions& options) {
  const auto file = TensorFile::open(options.input);
  if (models::has_flux_control(file)) {
    const auto control = models::open_flux_control(options.input);
    return {control.weights, control.weights, models::flux_control_config_json(control.config), false, true};
  }
  const bool transformer = weights::find_flux(file).has_value(), autoencoder = weights::has_autoencoder(file);
  if (options.part != "autoencoder" && (transformer || options.part == "transformer")) {
    const auto flux = models::open_flux(options.input);
    return {flux.weights, weights::flux_as_bfl(file), models::flux_config_json(flux.config), true};
  }
  if (!autoencoder && options.part == "auto")
    throw_user_error({.where = "convert",
                      .problem = options.input + ": neither FLUX's transformer nor an AutoencoderKL nor a ControlNet",
                      .hint = "`resflow inspect` says what a file is"});
  const auto named = weights::autoencoder_as_diffusers(file);
  const auto beside = fs::path(options.input) / "config.json";
  return {named, weights::autoencoder_as_bfl(file), fs::exists(beside) ? read_json_object(beside) : autoencoders::autoencoder_config_of(named),
          false};
}

// The first and the last layers, under any naming.
bool is_outer(const std::string& name) {
  const auto stem = name.substr(0, name.rfind('.'));
  for (const auto& layer : weights::flux_top_names())
    if (stem == layer.theirs || stem == layer.ours[0]) return true;
  return false;
}

Json gguf_pairs(const std::string& type, const Json& config) {
  const std::map<std::string, int> kinds = {{"f32", 0}, {"f16", 1}, {"q4_0", 2}, {"q8_0", 7}, {"q4_k", 14}, {"bf16", 32}};  // llama.cpp's LLAMA_FTYPE
  Json pairs = {{"general.architecture", "flux"}, {"general.quantization_version", 2}};
  if (kinds.contains(type)) pairs["general.file_type"] = kinds.at(type);
  pairs[kConfig] = config.dump();
  return pairs;
}

int convert(const ConvertOptions& options) {
  const fs::path output = options.output;
  const bool single = output.extension() == ".safetensors" || output.extension() == ".sft";
  std::string to = options.to;
  const Found found = find(options);
  if (to.empty()) to = output.extension() == ".gguf" ? "gguf" : single && !found.control ? "bfl" : "diffusers";
  if (found.control && to != "diffusers")
    throw_user_error(
        {.where = "convert", .problem = "a ControlNet is written as diffusers has it", .wanted = "--to diffusers, into a folder", .got = to});
  if (to == "gguf" && !found.transformer)
    throw_user_error({.where = "convert", .problem = "an autoencoder has no GGUF form", .wanted = "--to diffusers or bfl"});

  const auto loss = std::make_shared<weights::ConversionLoss>();
  const weights::Storage storage{
      .container = to == "gguf" ? weights::Container::gguf : weights::Container::safetensors, .type = options.type, .keep = is_outer};
  std::map<std::string, std::string> metadata;
  const auto& source = to == "diffusers" ? found.diffusers : found.bfl;
  const auto tensors = weights::tensors_as(source, storage, metadata, loss);
  int64_t bytes = 0;
  for (const auto& tensor : tensors) bytes += tensor.bytes();

  fs::path written = output;
  if (to == "gguf") {
    create_folder(output.parent_path());
    weights::write_gguf(output, tensors, gguf_pairs(options.type, found.config));
  } else if (to == "diffusers" && !single) {
    create_folder(output);
    metadata["format"] = "pt";  // which diffusers asks for
    written = output / "diffusion_pytorch_model.safetensors";
    weights::write_safetensors(written, tensors, metadata);
    write_text_atomically(output / "config.json", found.config.dump(2) + "\n");
  } else {
    create_folder(output.parent_path());
    metadata["format"] = "pt";
    if (found.transformer) metadata[kConfig] = found.config.dump();
    weights::write_safetensors(output, tensors, metadata);
  }
  log_info(fmt::format("{} tensors, {:.1f} MB -> {}", tensors.size(), static_cast<double>(bytes) / 1e6, written.string()));
  if (loss->changed > 0) {
    log_info(fmt::format("{} tensors have other numbers; relative error (rms) {:.2e}", loss->changed, loss->relative()));
  } else {
    log_info("every number is as it was");
  }
  return kGood;
}

}  // namespace

std::function<int()> command_convert(CLI::App& app) {
  auto options = std::make_shared<ConvertOptions>();
  app.add_option("input", options->input, "A file of weights, or a folder of diffusers (transformer/ or vae/)")->required();
  app.add_option("-o,--output", options->output, "The new file, or a folder for diffusers")->required();
  app.add_option("--to", options->to, "diffusers | bfl | gguf; by default what OUT's name tells: .gguf, .safetensors (bfl), or a folder (diffusers)")
      ->check(CLI::IsMember({"diffusers", "bfl", "gguf"}));
  app.add_option("--type", options->type, "f32 | f16 | bf16 | q8_0 | q4_0 | q4_k | fp8; by default as it is")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "fp8"}));
  app.add_option("--part", options->part, "Of an all-in-one file: auto | transformer | autoencoder")
      ->check(CLI::IsMember({"auto", "transformer", "autoencoder"}))
      ->capture_default_str();
  app.footer(
      "Examples:\n  resflow convert flux1-dev.safetensors -o flux1-dev-q8_0.gguf --type q8_0\n"
      "  resflow convert x-labs/controlnet.safetensors -o controlnet/     # x-labs' ControlNets, as diffusers loads them");
  return [options] { return convert(*options); };
}

}  // namespace resflow::cli
