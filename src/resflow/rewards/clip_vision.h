// CLIP's image tower, a vision transformer (transformers: CLIPVisionModelWithProjection): B/32, B/16, L/14; sizes are the file's.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>

#include "resflow/text/clip_encoder.h"

namespace resflow::rewards {

class ClipVision : public nn::Module {
 public:
  // float32 on the CPU. Throws UserError.
  explicit ClipVision(const text::ClipFile& file);
  // pixels [N, 3, side, side], normalised (clip_input) -> [N, E] in the space that images and texts share; not of unit length
  Tensor forward(const Tensor& pixels) const;
  int64_t side() const { return side_; }    // of the square that it sees, in pixels: 224
  int64_t width() const { return width_; }  // E

 private:
  Tensor patch_weight_, class_embedding_, position_embedding_;  // [D, 3, P, P], [D], [1 + (side / P)^2, D]
  int64_t patch_ = 0, side_ = 0, width_ = 0;
  std::unique_ptr<nn::LayerNorm> pre_, post_;
  std::unique_ptr<text::ClipEncoder> encoder_;
  std::unique_ptr<nn::Linear> projection_;
};

// One tower for all rewards that look through it: loaded once, and run once for the same images, since it keeps what it said last.
// embed() may be called from several threads; they take turns.
class SharedClipVision {
 public:
  // The tower of this file or folder that is already in use, or a new one. Throws UserError.
  static std::shared_ptr<SharedClipVision> of(const std::filesystem::path& path);
  explicit SharedClipVision(const std::filesystem::path& path);

  // images [N, 3, H, W], 0..1, any size -> of unit length, float [N, E] on the CPU. Runs where the images are.
  Tensor embed(const Tensor& images);
  int64_t width() const { return tower_.width(); }  // E
  int64_t runs() const { return runs_; }            // how often the tower was run

 private:
  std::mutex mutex_;
  ClipVision tower_;
  Tensor last_input_, last_embedding_;  // compared by value: an image may be changed in place
  int64_t runs_ = 0;
};

}  // namespace resflow::rewards
