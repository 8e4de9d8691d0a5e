// What FLUX is told of a text: T5's tokens and CLIP's one vector.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "resflow/core/progress.h"
#include "resflow/core/tensor.h"
#include "resflow/generate/memory.h"
#include "resflow/generate/model_folder.h"
#include "resflow/generate/text_encoder.h"

namespace resflow::generate {

struct TextFeatures {
  Tensor tokens;                   // T5's last hidden state, [1, T, 4096], padding included, in the type that was computed in
  Tensor pooled;                   // CLIP's output at the text's end, [1, 768], float32
  std::vector<std::string> notes;  // what was cut off
};

// Where and how the encoders run. CLIP is always computed in float32.
struct TextPlace {
  c10::Device device;
  c10::ScalarType dtype;     // T5's; float16, which it does not fit, becomes float32
  std::filesystem::path t5;  // other weights than the folder's; empty: the folder's
  Offload offload = Offload::text;
};

// Encoders that are kept between texts.
struct TextEncoders {
  std::unique_ptr<ClipText> clip;
  std::unique_ptr<T5Text> t5;
};

// Loads one encoder after the other, and frees each when it has been used, or with Offload::none leaves it in `kept` for the next text. length:
// tokens of T5. Throws UserError (missing or damaged files, a configuration that is not T5 v1.1's), Cancelled.
TextFeatures encode_text(const ModelFolder& model, const std::string& prompt, int64_t length, const TextPlace& place, const Job& job = {},
                         TextEncoders* kept = nullptr);

}  // namespace resflow::generate
