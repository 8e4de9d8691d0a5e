// The part that FLUX's transformer shares with its ControlNets: what comes in is embedded and goes through both kinds of blocks. Its parts are
// children of the model itself, since checkpoints' names have no level for it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "resflow/models/flux/blocks.h"
#include "resflow/models/flux/embeddings.h"
#include "resflow/nn/layer_stream.h"

namespace resflow::models {

// What a ControlNet adds to the image tokens after the blocks.
struct FluxResiduals {
  std::vector<Tensor> double_blocks, single_blocks;  // [B, L, D] each; fewer than there are blocks, or none
  // Sample of block i of n, of m samples: i / ceil(n / m), neighbours share one (diffusers); or i mod m, in the double-stream blocks (x-labs).
  bool repeat = false;
};

// The condition image of unified multi-modal fusion.
struct FluxCondition {
  Tensor tokens;  // its latent tokens, [B, C, 64]; undefined: no condition
  Tensor ids;     // positions, [C, 3] (fusion/position.h)
  ConditionAttention attention = ConditionAttention::independent;
  // Keys and values of it in every block, double-stream ones first: FluxTransformer::prepare(). They serve all steps, and all candidates where the
  // batch is 1. Empty: they are computed in each pass.
  std::vector<KeyValue> blocks;
};

// What one forward pass sees.
struct FluxInput {
  Tensor hidden_states;          // latent tokens, [B, L, 64] (tokens.h: patchify, side 2)
  Tensor encoder_hidden_states;  // the text's tokens (T5), [B, T, 4096]
  Tensor pooled;                 // the text's one vector (CLIP), [B, 768]
  Tensor timestep;               // sigma, [B], 0..1
  Tensor img_ids, txt_ids;       // positions, [L, 3] and [T, 3], float32 or wider: bf16 ids collide past 256
  Tensor guidance;               // scale, [B]; undefined where the model takes none

  FluxCondition condition;
  Tensor addition;          // added to the embedded latent tokens, [B, L, D], or undefined
  FluxResiduals residuals;  // a ControlNet's
  bool checkpoint = false;  // where gradients are wanted: keep each block's inputs alone (nn/checkpoint.h)
};

// Of a model whose blocks come to `device` in turns: everything else of it, adapters too, moves there.
void move_beside_blocks(const nn::Module& model, c10::Device device);

class FluxTrunk {
 public:
  FluxTrunk(nn::Module& model, const FluxConfig& config);

  // Called with the image tokens after each block; what it returns goes on. [B, L, D] -> [B, L, D]
  enum class Kind { double_stream, single_stream };
  using AfterBlock = std::function<Tensor(Kind kind, size_t index, const Tensor& image)>;

  // text_prefix: tokens before the text's, [B, P, D], at the first one's position; or undefined. `temb` is given back. -> image tokens, [B, L, D]
  Tensor forward(const FluxInput& input, const AfterBlock& after, Tensor& temb, const Tensor& text_prefix = {}) const;
  // Keys and values of an independent condition in every block.
  std::vector<KeyValue> prepare(const FluxCondition& condition, const Tensor& pooled) const;

  // From now on the blocks' weights, bound on the CPU, come to `device` in turns (nn/layer_stream.h), for passes without gradients. On a CPU they
  // stay, and are read ahead of their use.
  void stream_blocks(c10::Device device);
  std::vector<nn::Module*> block_modules() const;  // in the order in which they run

  size_t blocks() const { return transformer_blocks_.size() + single_transformer_blocks_.size(); }
  c10::ScalarType dtype() const { return x_embedder_.dtype(); }

 private:
  // How the condition's tokens are steered: time 0 and guidance 1, whatever the image's.
  void steer_condition(const FluxCondition& condition, const Tensor& pooled, FluxSteering& by) const;

  FluxConfig config_;
  FluxEmbedding time_text_embed_;
  nn::Linear context_embedder_, x_embedder_;
  std::vector<std::unique_ptr<FluxDoubleBlock>> transformer_blocks_;
  std::vector<std::unique_ptr<FluxSingleBlock>> single_transformer_blocks_;
  std::unique_ptr<nn::LayerStream> stream_;  // undefined: the blocks are where they compute. Last: it ends before the blocks
};

}  // namespace resflow::models
