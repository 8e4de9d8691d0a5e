// What FLUX is trained on: latents and texts that have been through the autoencoder and the text encoders once.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/tensor.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::train {

// Samples of one size, as they lie in a shard.
struct Latents {
  Tensor clean,
      condition;  // [B, 16, h, w]; of so many pictures as are shown, [B, pictures, 16, h', w']. In the transformer's scale: (mean - shift) * scale
  Tensor text, pooled;  // [B, T, 4096], [B, 768]
};

// A shard is a safetensors file of "latents", "conditions" (of the poor picture), "t5" and "pooled", one row a sample, any float type; "references"
// (of the degradation remover's), where it is shown; and, for samples whose text or image is dropped, "empty.t5" [T, 4096] and "empty.pooled" [768]
// (of the empty text), "empty.condition" [16, h', w'] (of a black picture). What is empty and not there is 0. Pictures of other sizes go into other
// shards: a batch comes from one.
class LatentShards {
 public:
  // condition: FusionConfig's, which pictures are shown. Throws UserError where a shard lacks a tensor, or sizes do not fit.
  LatentShards(const std::vector<std::string>& paths, const std::string& condition);

  int64_t samples() const { return samples_; }
  size_t shards() const { return shards_.size(); }
  // Samples of one shard, float32. rows int64, in order.
  Latents rows(size_t shard, const std::vector<int64_t>& rows) const;
  Latents empty(size_t shard) const;  // a batch of 1; clean is undefined
  int64_t size(size_t shard) const { return shards_.at(shard).count; }

 private:
  struct Shard {
    int64_t count;
    Tensor clean, text, pooled;  // views of the file, as are the conditions
    std::vector<Tensor> conditions;
    Latents empty;
  };
  std::vector<Shard> shards_;
  int64_t samples_ = 0;
};

}  // namespace resflow::train
