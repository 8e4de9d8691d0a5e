// Shards for training FLUX: pictures and texts through the autoencoder and the text encoders once (train/latents.h says what stands in one).
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "resflow/core/progress.h"
#include "resflow/core/tensor.h"
#include "resflow/generate/options.h"

namespace resflow::generate {

// Its functions may be called until the stream goes on.
struct ShardSample {
  std::string where, text;  // `where` is for messages
  // float [3, H, W], 0..1; the others are of the same scene, of any size. removed: the degradation remover's picture of the poor one; of all samples
  // or of none. Throw UserError.
  std::function<Tensor()> good, poor, removed;
};

// Hands out every sample, in order, the same ones each time. pixels: whether pictures will be asked for; first it is called for the texts alone.
using SampleStream = std::function<void(bool pixels, const std::function<void(const ShardSample&)>& take)>;

struct ShardOptions {
  int64_t size = 1024;
  bool buckets = false;
  int64_t bucket_step = 64;
  int64_t max_sequence_length = 512;
  std::string text_type = "bf16";

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("size", o.size, "Side in pixels of the centre crop that is taken of each picture, a multiple of 16", Range{16, 4096});
    visit("buckets", o.buckets,
          "Several shards by shape: of the sizes of at most size x size pixels, each picture is brought to the one nearest to its shape and cropped");
    visit("bucket_step", o.bucket_step, "buckets: what widths and heights are multiples of, itself one of 16", Range{16, 512});
    visit("max_sequence_length", o.max_sequence_length, "Tokens of the text, padding included", Range{1, 512});
    visit("text_type", o.text_type, "Number type that T5's tokens are stored in", OneOf{{"bf16", "f32"}});
  }
};

struct Bucket {
  int64_t height = 0, width = 0;
  auto operator<=>(const Bucket&) const = default;
};

// Heights and widths, multiples of `step`, from 1:2 to 2:1, the largest with at most size x size pixels for each width; never empty, {size, size} is
// one where it is a multiple.
std::vector<Bucket> buckets_of(int64_t size, int64_t step);
// The one whose shape is nearest, as a ratio; of equal ones the largest.
Bucket nearest_bucket(const std::vector<Bucket>& buckets, int64_t height, int64_t width);

struct WrittenShards {
  std::vector<std::pair<std::filesystem::path, int64_t>> shards;  // and how many samples each has
  std::vector<std::pair<std::string, std::string>> failed;        // where and why: passed over
};

// Encodes and writes the shard `path`, or with buckets one a size that occurs, NAME-WIDTHxHEIGHT.safetensors; each whole or not at all. Without
// buckets a good picture smaller than the crop is enlarged to it, and others are cropped as they are. The others are enlarged or reduced to the
// good one's size (antialiased bicubic) and cropped alike. Latents are stored as float32. Reports stage "encode". Throws UserError (options, no
// picture that can be read), Cancelled.
WrittenShards write_latent_shards(const std::filesystem::path& path, const SampleStream& samples, const ModelOptions& model,
                                  const ShardOptions& options, const Job& job = {});

}  // namespace resflow::generate
