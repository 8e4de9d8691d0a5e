// Real-ESRGAN's networks, for the probe.
#pragma once

#include "file_operations.h"
#include "resflow/core/device.h"
#include "resflow/models/esrgan/file.h"
#include "resflow/models/remover_network.h"

namespace resflow::probe {

// "image" [B, 3, H, W] through the network of the file that the metadata name ("file"), in their "dtype".
inline Outputs esrgan(const weights::TensorFile& in) {
  c10::InferenceMode inference;
  const auto& told = in.metadata();
  const auto network = models::load_remover_network(models::open_esrgan(told.at("file")), c10::kCPU, parse_dtype(told.at("dtype"), c10::kCPU));
  return {{"out", network->forward(in.get("image"))}, {"scale", at::scalar_tensor(network->scale(), at::kLong)}};
}

}  // namespace resflow::probe
