// Shards for training FLUX: pictures and texts through the autoencoder and the text encoders once (train/latents.h says what stands in one).
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "resflow/core/progress.h"
#include "resflow/generate/options.h"

namespace resflow::generate {

struct ShardSample {
  std::filesystem::path good, poor;  // the poor picture is of the same scene, of any size
  std::string text;
};

struct ShardOptions {
  int64_t size = 1024;
  int64_t max_sequence_length = 512;
  std::string text_type = "bf16";

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("size", o.size, "Side in pixels of the centre crop that is taken of each picture, a multiple of 16", Range{16, 4096});
    visit("max_sequence_length", o.max_sequence_length, "Tokens of the text, padding included", Range{1, 512});
    visit("text_type", o.text_type, "Number type that T5's tokens are stored in", OneOf{{"bf16", "f32"}});
  }
};

// Encodes and writes the shard, whole or not at all. A good picture smaller than the crop is enlarged to it; the poor one is enlarged or reduced to
// the good one's size (antialiased bicubic) and cropped alike. Latents are stored as float32. Reports stage "encode". Throws UserError (files,
// sizes), Cancelled.
void write_latent_shard(const std::filesystem::path& path, const std::vector<ShardSample>& samples, const ModelOptions& model,
                        const ShardOptions& options, const Job& job = {});

}  // namespace resflow::generate
