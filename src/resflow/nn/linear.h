// y = x W^T + b, with low-rank deltas: LoRA lives here.
#pragma once

#include "resflow/nn/module.h"

namespace resflow::nn {

// Which tokens a Linear is applied to: those of the condition, or all others.
enum class Branch { main, condition };

// Which tokens an adapter acts on: every one (an ordinary LoRA), or the condition's alone (OminiControl's scheme).
enum class LoraTokens { all, condition };

// One adapter on a Linear: y += scale * (up(down(x)) + bias), computed in x's type.
struct LoraDelta {
  Tensor down;  // [rank, in]
  Tensor up;    // [out, rank]
  Tensor bias;  // [out], or undefined
  double scale = 1;
  LoraTokens tokens = LoraTokens::all;
  uint64_t owner = 0;  // who attached it, by which it is found again
};

class Linear : public Module {
 public:
  // condition_rank > 0 declares a trainable delta of that rank for Branch::condition ("condition.down", "condition.up").
  struct Options {
    bool bias = true;
    int64_t condition_rank = 0;
    bool zero_init = false;  // start as the zero map (output projections)
  };
  Linear(Module& parent, const std::string& name, int64_t in, int64_t out, Options options);
  Linear(Module& parent, const std::string& name, int64_t in, int64_t out) : Linear(parent, name, in, out, Options{}) {}

  // [..., in] -> [..., out]
  Tensor forward(const Tensor& x, Branch branch = Branch::main) const;

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  // Takes a weight for another number of inputs, [out, any]: in() and the declared shape follow.
  void replace_weight(Tensor replacement);

  // The weight to compute with: as it is, or dequantised for this call. [out, in]
  Tensor dense_weight() const { return quantised.defined() ? quantised.dequantise() : weight; }
  c10::ScalarType dtype() const { return quantised.defined() ? quantised.dtype : weight.scalar_type(); }  // of what comes out

  Tensor weight;  // [out, in]; undefined where `quantised` holds it
  QuantisedWeight quantised;
  Tensor bias;                          // [out], or undefined
  Tensor condition_down, condition_up;  // [rank, in], [out, rank], or undefined
  std::vector<LoraDelta> loras;         // attached adapters, in order

 private:
  void initialise_own(const Stream& stream) override;
  int64_t in_, out_;
  Options options_;
};

}  // namespace resflow::nn
