// Weights that are stored with a scale beside them: w = stored * scale. Two forms of float8 files (ComfyUI), and int8 in the second.
//   old   X.weight, X.scale_weight, perhaps X.scale_input; a marker "scaled_fp8"
//   new   X.weight, X.weight_scale, perhaps X.input_scale; X.comfy_quant, or metadata "_quantization_metadata"
// Internal to weights/: TensorFile::open() gives X.weight with its scale applied, and hides what belongs to it.
#pragma once

#include <memory>

#include "resflow/weights/tensor_source.h"

namespace resflow::weights {

// The same source where nothing has a scale. Layers that are packed in a way that is not known (nf4, nvfp4, scales by blocks) can be listed,
// and are a UserError when they are read. Throws UserError where a scale is not one number, nor one a row.
std::shared_ptr<const TensorSource> with_scales(std::shared_ptr<const TensorSource> source);

}  // namespace resflow::weights
