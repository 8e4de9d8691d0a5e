// How good a picture looks to CLIP: CLIP-IQA (Wang et al. 2023, arXiv 2207.12396) with five pairs of opposite prompts, as the field's
// IQA-PyTorch has them. The mean over the pairs of P(first): softmax of scale x cos within the pair. CLIP RN50 at the image's own size.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "resflow/rewards/clip_input.h"
#include "resflow/rewards/clip_resnet.h"
#include "resflow/rewards/public_file.h"
#include "resflow/rewards/reward.h"
#include "resflow/text/clip_text.h"

namespace resflow::rewards {
namespace {

constexpr int64_t kSmallest = 32;  // pixels a side: one place of the last feature map
constexpr int64_t kStart = 49406, kEnd = 49407;

// The prompts as numbers of CLIP's one vocabulary, so that no file of it is needed.
const std::array<std::vector<int64_t>, 10> kPrompts = {{
    {886, 2867},              // Good image
    {2103, 2867},             // bad image
    {8157, 2867},             // Sharp image
    {21977, 2867},            // blurry image
    {8157, 20938},            // sharp edges
    {21977, 20938},           // blurry edges
    {1400, 9977, 2867},       // High resolution image
    {1042, 9977, 2867},       // low resolution image
    {9307, 268, 1139, 2867},  // Noise-free image
    {33495, 2867},            // noisy image
}};

Tensor prompt_tokens(int64_t length) {
  const Tensor out = at::full({static_cast<int64_t>(kPrompts.size()), length}, kEnd, at::kLong);
  for (size_t row = 0; row < kPrompts.size(); ++row) {
    int64_t* tokens = out.data_ptr<int64_t>() + static_cast<int64_t>(row) * length;
    *tokens = kStart;
    std::copy(kPrompts[row].begin(), kPrompts[row].end(), tokens + 1);
  }
  return out;
}

Tensor unit(const Tensor& x) { return x / at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, true); }

PublicFile weights_file() {
  return {.name = "RN50.pt",
          .origin = "https://github.com/openai/CLIP (clip/clip.py lists the address of RN50)",
          .licence = "MIT; the published file is TorchScript: save its state_dict(), see docs/rewards.md",
          .other_names = {"RN50.safetensors"}};
}

class ClipIqa final : public Reward {
 public:
  ClipIqa() : ClipIqa(text::ClipFile::open(find_public_file(weights_file()))) {}
  explicit ClipIqa(const text::ClipFile& file) : trunk_(file) {
    const text::ClipTextModel text(file);
    const Tensor tokens = prompt_tokens(text.context());
    const int64_t words = file.get("text_model.embeddings.token_embedding.weight").size(0);
    if (!text.has_projection() || words <= kEnd)
      throw_user_error({.where = file.path().string(), .problem = "not a whole CLIP", .wanted = "a text tower of 49408 words with its projection"});
    // [10, E], of unit length times the scale of the logits
    prompts_ = unit(text.embed(tokens)) * file.get("logit_scale").to(at::kFloat).exp();
  }

  // Not a number where the image is smaller than 32x32.
  Tensor score(const Tensor& images, const RewardContext&) const override {
    check_shape(images, "N 3 H W", "images");
    Tensor scores = at::full({images.size(0)}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
    if (std::min(images.size(2), images.size(3)) < kSmallest) return scores;
    for (int64_t i = 0; i < images.size(0); ++i) {  // at its own size an image alone fills the memory
      const Tensor embedding = unit(trunk_.forward(clip_normalised(images.narrow(0, i, 1).to(at::kCPU))));  // [1, E]
      const Tensor logits = at::mm(embedding, prompts_.t()).view({-1, 2});                                  // [5, 2]
      scores[i] = logits.softmax(1).select(1, 0).mean().to(at::kDouble);
    }
    return scores;
  }

 private:
  ClipResnet trunk_;
  Tensor prompts_;
};

}  // namespace

Entry<Reward> reward_clip_iqa() { return entry<Reward, ClipIqa>("clip-iqa", "How good it looks to CLIP RN50: CLIP-IQA, five pairs of prompts"); }

PublicNeeds reward_clip_iqa_needs() { return {.files = {weights_file()}}; }

}  // namespace resflow::rewards
