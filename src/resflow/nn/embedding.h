// A table of vectors by number.
#pragma once

#include "resflow/nn/module.h"

namespace resflow::nn {

class Embedding : public Module {
 public:
  Embedding(Module& parent, const std::string& name, int64_t count, int64_t width);
  Tensor forward(const Tensor& numbers) const;  // int64 [...] -> [..., D]
  c10::Device device() const { return quantised.defined() ? quantised.stored.device() : weight.device(); }
  Tensor weight;  // [count, D]; undefined where `quantised` holds it
  QuantisedWeight quantised;

 private:
  void initialise_own(const Stream& stream) override;
  int64_t count_, width_;
};

}  // namespace resflow::nn
