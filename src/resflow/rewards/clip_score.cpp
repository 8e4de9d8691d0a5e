// Does the picture show what the caption says? CLIPScore (Hessel et al. 2021, arXiv 2104.08718): 2.5 max(cos, 0) between a picture's and
// a text's CLIP B/32 embedding, the text being "A photo depicts " and the caption.
#include <ATen/ATen.h>

#include <mutex>

#include "resflow/rewards/clip_vision.h"
#include "resflow/rewards/public_file.h"
#include "resflow/rewards/reward.h"
#include "resflow/text/clip_text.h"
#include "resflow/text/clip_tokenizer.h"

namespace resflow::rewards {
namespace {

constexpr double kScale = 2.5;

PublicFile towers() { return clip_folder("clip-vit-base-patch32"); }

class ClipScore final : public Reward {
 public:
  ClipScore() : ClipScore(find_public_file(towers())) {}
  explicit ClipScore(const std::filesystem::path& folder)
      : tokenizer_(text::ClipTokenizer::load(folder)), text_(text::ClipFile::open(folder)), tower_(SharedClipVision::of(folder)) {
    if (!text_.has_projection() || text_.embedding_width() != tower_->width())
      throw_user_error({.where = folder.string(), .problem = "texts and images do not share a space", .wanted = "a whole CLIP: both towers"});
  }

  Tensor score(const Tensor& images, const RewardContext& context) const override {
    const Tensor words = caption_embedding(context.prompt);      // [E]
    const Tensor cosine = at::mv(tower_->embed(images), words);  // [N]
    return kScale * cosine.clamp_min(0).to(at::kDouble);
  }
  bool needs_prompt() const override { return true; }

 private:
  // Of unit length. The caption is the same for all images of a search.
  Tensor caption_embedding(const std::string& caption) const {
    const std::lock_guard lock(mutex_);
    if (!last_.defined() || caption != last_caption_) {
      const std::string words = "A photo depicts " + caption;
      const Tensor embedding = text_.embed(tokenizer_.encode({&words, 1}, text_.context())).squeeze(0);
      last_ = embedding / at::linalg_vector_norm(embedding);
      last_caption_ = caption;
    }
    return last_;
  }

  text::ClipTokenizer tokenizer_;
  text::ClipTextModel text_;
  std::shared_ptr<SharedClipVision> tower_;
  mutable std::mutex mutex_;
  mutable std::string last_caption_;
  mutable Tensor last_;
};

}  // namespace

Entry<Reward> reward_clip_score() { return entry<Reward, ClipScore>("clip-score", "Does it show what --caption says? CLIPScore on CLIP B/32"); }
PublicNeeds reward_clip_score_needs() { return {.files = {towers()}, .caption = true}; }

}  // namespace resflow::rewards
