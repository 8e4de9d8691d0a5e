// The compact flow: from the remover's output plus noise to a clean image, in pixel space.
//
//   z_t = (1 - t) x0 + t (y* + sigma_s n),   velocity = (y* + sigma_s n) - x0 = (z - x0) / t      t: 1 -> 0
//
// (PMRF's coordinates, 2410.00418.) The network predicts x0 as y* + sigma_data F: where y* needs no change F is 0 and the result is clean,
// however little the network has learnt (a skip of z would pass its noise on). Its input is scaled to unit variance from t, sigma_s
// and the expected residual sigma_data, so one network serves sigma_s = 0.05 (faithful) to 0.5 (room to search). Convolutions work at a
// quarter of the resolution (pixel-unshuffle), MM-DiT blocks over 16-px tokens [z ; C_img] between them. What they give is 4x4 cells that do
// not know of each other: a few narrow convolutions at full resolution join them, or the cells would show as a grid.
//
// Text is three tokens with weights of their own (FLUX's text stream), words for what is wrong with the picture; like C_img's they are given as keys
// and values, computed once.
//
// Two other fusions of C_img are here to be compared with (the paper's ablation): `addition` adds C_img, embedded, to the latent tokens; `controlnet`
// adds what half as many blocks of their own make of that sum, through maps that start at zero (2302.05543).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "resflow/core/rng.h"
#include "resflow/models/blocks.h"
#include "resflow/models/compact/remover.h"
#include "resflow/models/compact/words.h"
#include "resflow/nn/embedding.h"
#include "resflow/nn/timestep.h"

namespace resflow::models {

// All of an image that does not change with z and t: computed once, shared by all steps and candidates.
struct CompactCondition {
  Tensor reference;              // y*, [B, 3, H, W]
  Tensor map;                    // condition features for the stem, [B, C, H/4, W/4]
  std::vector<KeyValue> tokens;  // of a sequence: keys and values of C_img, then of the text, one a block
  Tensor embedded;               // of the other fusions: C_img as it is added to the latent tokens, [B, L, D]
  nn::Rope rope;                 // [L, E]
  Tensor mask;                   // [L, 2L], with text [L, 2L + kFlaws]; without a sequence [L, L]
};

// The condition of some samples of its batch. places: int64 [N]
CompactCondition select(const CompactCondition& condition, const Tensor& places);

class CompactFlow : public nn::Module {
 public:
  explicit CompactFlow(const CompactConfig& config);

  // image: the enlarged LQ image, [B, 3, H, W], H and W multiples of kMultiple; remover: the DR's output for it. words: what is said of each picture,
  // as word_numbers(), [B or 1, kFlaws]; undefined: nothing is. A model without words does not look at them.
  CompactCondition prepare(const Tensor& image, const CompactRemover::Output& remover, const Tensor& words = {}) const;
  bool knows_words() const { return config_.words; }

  // z [B, 3, H, W]; t, sigma_s [B]; the condition's batch is B or 1. -> the clean estimate, [B, 3, H, W]
  Tensor predict_x0(const Tensor& z, const Tensor& t, const Tensor& sigma_s, const CompactCondition& condition) const;
  // (z - x0) / t
  Tensor velocity(const Tensor& z, const Tensor& t, const Tensor& sigma_s, const CompactCondition& condition) const;

  // The part of a start noise that the whole picture shares: three normals of size shared_noise, by which the seeds of a picture can differ as a
  // whole. (Whatever only differs from place to place averages out over a picture.) Added to the field's white part. -> [1, 3, 1, 1], CPU
  Tensor shared_noise(const Stream& field) const;

  // The time shift (mu of flow::shift_sigmas) that spreads steps evenly over balanced time, u = noise / (noise + signal) with noise = t sigma_s
  // and signal = (1 - t) sigma_data. Even steps in t would leave out, for a large sigma_s, the levels where detail is decided.
  double time_shift(double sigma_s) const;

  // The loss weight of |x0 error|^2 that makes it a velocity loss in balanced time, in units of sigma_data: 1 / (sigma_data max(u, 0.2))^2.
  // t, sigma_s [B] -> [B]
  Tensor loss_weight(const Tensor& t, const Tensor& sigma_s) const;

  static constexpr int64_t kPatch = 4;                                       // cells of the quarter-resolution map a token covers
  static constexpr int64_t kMultiple = CompactRemover::kUnshuffle * kPatch;  // 16 px

 private:
  Tensor embedding(const Tensor& t, const Tensor& sigma_s) const;  // [B] -> [B, D]
  // Latent tokens through the blocks. [B, L, D] -> [B, L, D]
  Tensor transformed(Tensor tokens, const Tensor& temb, const CompactCondition& condition) const;
  // The text's keys and values after C_img's, and the mask that lets every latent token see them.
  void add_words(const Tensor& words, int64_t batch, const Tensor& temb, CompactCondition& condition) const;
  // What the control network adds after each of its blocks. tokens: the latent's with C_img. -> [B, L, D] each
  std::vector<Tensor> controls(Tensor tokens, const Tensor& temb, const CompactCondition& condition) const;
  bool sequence() const { return config_.fusion == "sequence"; }

  CompactConfig config_;
  nn::TimestepEmbedder time_embedder_, sigma_s_embedder_;
  nn::Conv2d condition_in_, latent_in_;
  std::vector<std::unique_ptr<ResidualBlock>> stem_;
  nn::Linear x_embedder_;
  std::vector<std::unique_ptr<DoubleStreamBlock>> blocks_;
  std::optional<nn::Embedding> word_embedder_;                      // [kFlaws kSaid, D]
  std::optional<nn::Linear> condition_embedder_;                    // addition, controlnet
  std::vector<std::unique_ptr<DoubleStreamBlock>> control_blocks_;  // controlnet
  std::vector<std::unique_ptr<nn::Linear>> control_out_;            // one a control block
  nn::Linear proj_out_;
  std::vector<std::unique_ptr<ResidualBlock>> head_;
  nn::Conv2d conv_out_;
  std::vector<std::unique_ptr<nn::Conv2d>> refine_;
};

}  // namespace resflow::models
