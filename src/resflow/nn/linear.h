// y = x W^T + b, with low-rank deltas: LoRA lives here.
#pragma once

#include "resflow/nn/module.h"

namespace resflow::nn {

// One adapter on a Linear: y += scale * up(down(x)).
struct LoraDelta {
  Tensor down;  // [rank, in]
  Tensor up;    // [out, rank]
  double scale = 1;
};

// Which tokens a Linear is applied to: deltas act on the condition tokens only (OminiControl's scheme).
enum class Branch { main, condition };

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

  Tensor weight;                        // [out, in]
  Tensor bias;                          // [out], or undefined
  Tensor condition_down, condition_up;  // [rank, in], [out, rank], or undefined
  std::vector<LoraDelta> loras;         // attached adapters; applied to Branch::condition

 private:
  void initialise_own(const Stream& stream) override;
  int64_t in_, out_;
  Options options_;
};

}  // namespace resflow::nn
