#include "resflow/rewards/clip_vision.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>

#include "resflow/core/error.h"
#include "resflow/rewards/clip_input.h"

namespace resflow::rewards {
namespace {

constexpr int64_t kBatch = 16;  // images in one run: bounds the memory

}  // namespace

ClipVision::ClipVision(const text::ClipFile& file) {
  constexpr const char* kPatch = "vision_model.embeddings.patch_embedding.weight";
  constexpr const char* kPositions = "vision_model.embeddings.position_embedding.weight";
  const Tensor patch = file.get(kPatch), positions = file.get(kPositions);
  const auto grid = positions.dim() == 2 ? std::llround(std::sqrt(static_cast<double>(positions.size(0) - 1))) : 0;
  if (patch.dim() != 4 || grid < 1 || grid * grid + 1 != positions.size(0))
    throw_user_error({.where = file.path().string(),
                      .problem = "not CLIP's image tower",
                      .wanted = "a patch embedding [D, 3, P, P], and positions of a square and one more",
                      .got = c10::str(patch.sizes(), " and ", positions.sizes())});
  const int64_t width = patch.size(0);
  patch_ = patch.size(2);
  side_ = grid * patch_;
  declare(kPatch, patch_weight_, {width, 3, patch_, patch_});
  declare("vision_model.embeddings.class_embedding", class_embedding_, {width});
  declare(kPositions, position_embedding_, {positions.size(0), width});
  pre_ = std::make_unique<nn::LayerNorm>(*this, "vision_model.pre_layrnorm", width, file.vision().eps);
  encoder_ = std::make_unique<text::ClipEncoder>(*this, "vision_model.encoder", file, file.vision());
  post_ = std::make_unique<nn::LayerNorm>(*this, "vision_model.post_layernorm", width, file.vision().eps);
  width_ = file.get("visual_projection.weight").size(0);
  projection_ = std::make_unique<nn::Linear>(*this, "visual_projection", width, width_, nn::Linear::Options{.bias = false});
  file.load(*this, {"vision_model.", "visual_projection."});
}

Tensor ClipVision::forward(const Tensor& pixels) const {
  check_shape(pixels, "N 3 S S", "pixels");
  const Tensor patches = at::conv2d(pixels, patch_weight_, {}, patch_).flatten(2).transpose(1, 2);  // [N, L - 1, D]
  const Tensor first = class_embedding_.expand({pixels.size(0), 1, -1});                            // [N, 1, D]
  const Tensor x = pre_->forward(at::cat({first, patches}, 1) + position_embedding_);               // [N, L, D]
  return projection_->forward(post_->forward(encoder_->forward(x, {}).select(1, 0)));               // [N, E]
}

SharedClipVision::SharedClipVision(const std::filesystem::path& path) : tower_(text::ClipFile::open(path)) {}

std::shared_ptr<SharedClipVision> SharedClipVision::of(const std::filesystem::path& path) {
  static std::mutex mutex;
  static std::map<std::filesystem::path, std::weak_ptr<SharedClipVision>> in_use;
  const std::lock_guard lock(mutex);
  auto& known = in_use[std::filesystem::weakly_canonical(path)];
  auto tower = known.lock();
  if (!tower) known = tower = std::make_shared<SharedClipVision>(path);
  return tower;
}

Tensor SharedClipVision::embed(const Tensor& images) {
  const std::lock_guard lock(mutex_);
  const Tensor input = clip_input(images, tower_.side());
  if (last_input_.defined() && last_input_.device() == input.device() && at::equal(last_input_, input)) return last_embedding_;
  tower_.to(input.device(), at::kFloat);
  std::vector<Tensor> parts;
  for (const auto& part : input.split(kBatch)) parts.push_back(tower_.forward(part));
  const Tensor all = at::cat(parts);  // [N, E]
  ++runs_;
  last_embedding_ = (all / at::linalg_vector_norm(all, 2, at::IntArrayRef{1}, true)).to(at::kCPU);
  last_input_ = input;
  return last_embedding_;
}

}  // namespace resflow::rewards
