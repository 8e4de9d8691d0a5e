// Would people choose this picture for this caption? ImageReward 1.0 (Xu et al. 2023, arXiv 2304.05977): BLIP's BERT reads the caption while
// it looks at the picture; five linear layers make a number of its first token, with the mean and deviation over the authors' data taken out.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <mutex>
#include <vector>

#include "resflow/rewards/aesthetic_head.h"
#include "resflow/rewards/blip.h"
#include "resflow/rewards/clip_input.h"
#include "resflow/rewards/public_file.h"
#include "resflow/rewards/reward.h"
#include "resflow/text/bert_tokenizer.h"
#include "resflow/weights/load.h"

namespace resflow::rewards {
namespace {

constexpr double kMean = 0.16717362830052426, kDeviation = 1.0333394966054072;
constexpr int64_t kLongestCaption = 35;  // tokens, with start and end
constexpr int64_t kBatch = 16;           // images in one run: bounds the memory

class Encoders : public nn::Module {
 public:
  explicit Encoders(const weights::TensorFile& file)
      : vision(*this, "blip.visual_encoder", file), text(*this, "blip.text_encoder", file, vision.width()) {
    const auto report = weights::bind(*this, file, "", {.dtype = at::kFloat});
    const auto complain = [&](const std::string& problem) {
      throw_user_error({.where = file.path().string(), .problem = problem, .hint = "Is this ImageReward.pt, version 1.0?"});
    };
    if (!report.missing.empty()) complain("tensor '" + report.missing.front() + "' is missing");
    // Projections of BLIP's own training lie beside the encoders, and a table of 0, 1, 2, ... in one.
    for (const auto& name : report.unexpected)
      if ((name.starts_with("blip.visual_encoder.") || name.starts_with("blip.text_encoder.")) && !name.ends_with("position_ids"))
        complain("tensor '" + name + "' has no place in the model");
  }

  BlipVision vision;
  BlipText text;
};

PublicFile weights_file() {
  return {.name = "ImageReward/ImageReward.pt", .origin = "https://huggingface.co/THUDM/ImageReward", .licence = "Apache-2.0"};
}

PublicFile vocabulary_file() {
  return {.name = "ImageReward/vocab.txt", .origin = "https://huggingface.co/google-bert/bert-base-uncased (vocab.txt)", .licence = "Apache-2.0"};
}

class ImageReward final : public Reward {
 public:
  // BLIP puts two words behind BERT's vocabulary; ImageReward uses neither.
  ImageReward()
      : ImageReward(text::BertTokenizer::load(find_public_file(vocabulary_file()), {"[DEC]", "[ENC]"}),
                    weights::TensorFile::open(find_public_file(weights_file()))) {}

  // One caption a search: without padding, which attention would leave out anyway.
  Tensor score(const Tensor& images, const RewardContext& context) const override {
    const std::lock_guard lock(mutex_);
    const Tensor input = clip_input(images, encoders_.vision.side());
    encoders_.to(input.device(), at::kFloat);
    const Tensor tokens = tokenizer_.encode(context.prompt, kLongestCaption).to(input.device());
    std::vector<Tensor> parts;
    for (const auto& part : input.split(kBatch)) parts.push_back(encoders_.text.forward(tokens, encoders_.vision.forward(part)).select(1, 0));
    return (head_.forward(at::cat(parts).to(at::kCPU)) - kMean) / kDeviation;
  }
  bool needs_prompt() const override { return true; }

 private:
  ImageReward(text::BertTokenizer tokenizer, const weights::TensorFile& file)
      : tokenizer_(std::move(tokenizer)), head_(AestheticHead::load(file, "mlp.layers.")), encoders_(file) {
    if (tokenizer_.size() != encoders_.text.words())
      throw_user_error({.where = find_public_file(vocabulary_file()).string(),
                        .problem = "not the vocabulary of ImageReward.pt",
                        .wanted = fmt::format("{} words", encoders_.text.words() - 2),
                        .got = std::to_string(tokenizer_.size() - 2)});
    if (head_.width() != encoders_.text.width())
      throw_user_error({.where = file.path().string(),
                        .problem = "its head is of another model",
                        .wanted = std::to_string(encoders_.text.width()),
                        .got = std::to_string(head_.width())});
  }

  text::BertTokenizer tokenizer_;
  AestheticHead head_;
  mutable std::mutex mutex_;  // of the encoders, which follow the images' device
  mutable Encoders encoders_;
};

}  // namespace

Entry<Reward> reward_image_reward() {
  return entry<Reward, ImageReward>("image-reward", "Would people choose it for --caption? ImageReward 1.0 on BLIP");
}

PublicNeeds reward_image_reward_needs() { return {.files = {weights_file(), vocabulary_file()}, .caption = true}; }

}  // namespace resflow::rewards
