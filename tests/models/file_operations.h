// FLUX's transformer from a file of its own, for tests in Python. The path stands in IN's metadata, "file".
#pragma once

#include <ATen/ATen.h>

#include <fstream>
#include <sstream>
#include <string>

#include "fusion_operations.h"
#include "resflow/core/device.h"
#include "resflow/models/flux/file.h"
#include "resflow/models/flux/transformer.h"
#include "resflow/weights/flux_names.h"
#include "resflow/weights/load.h"

namespace resflow::probe {

// Memory that no file stands behind, bytes.
inline double anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stod(line.substr(8)) * 1024;
  return 0;
}

// "out": one forward pass; "loaded" and "used": anonymous bytes that loading took, and that remain after the pass.
inline Outputs flux_file(const weights::TensorFile& in) {
  const double before = anonymous_bytes();
  const auto file = models::open_flux(in.metadata().at("file"));
  models::FluxTransformer model(file.config);
  weights::Conversion conversion;
  if (in.metadata().contains("dtype")) conversion.dtype = parse_dtype(in.metadata().at("dtype"), c10::kCPU);
  weights::load_strict(model, file.weights, "", conversion);
  const double loaded = anonymous_bytes() - before;
  const Tensor out = model.forward(flux_input(in));
  return {{"out", out}, {"loaded", at::scalar_tensor(loaded, at::kDouble)}, {"used", at::scalar_tensor(anonymous_bytes() - before, at::kDouble)}};
}

// Every name of the transformer and its shape, in diffusers' naming or BFL's ("naming").
inline Outputs flux_names(const weights::TensorFile& in) {
  const auto file = weights::TensorFile::open(in.metadata().at("file"));
  const auto named = in.metadata().at("naming") == "bfl" ? weights::flux_as_bfl(file) : weights::flux_as_diffusers(file);
  Outputs out;
  for (const auto& name : named.names()) out.emplace_back(name, at::tensor(named.shape(name), at::kLong));
  return out;
}

// The configuration, a letter a number.
inline Outputs flux_file_config(const weights::TensorFile& in) {
  const auto text = models::flux_config_json(models::open_flux(in.metadata().at("file")).config).dump();
  return {{"config", at::tensor(std::vector<int64_t>(text.begin(), text.end()), at::kLong)}};
}

}  // namespace resflow::probe
