// A tree of named tensors. libtorch's own Module builds random float32 weights at construction (50 s for FLUX) and its headers
// double the time to compile a file; this one declares names and shapes only, and loading or initialising fills the slots.
// A member names itself once, at its declaration:  Linear to_q{*this, "attn.to_q", width, width};  Names are the checkpoint's.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "resflow/core/rng.h"
#include "resflow/core/tensor.h"
#include "resflow/nn/quantised_weight.h"

namespace resflow::nn {

struct NamedTensor {
  std::string name;            // full name from the root, "transformer_blocks.0.attn.to_q.weight"
  Tensor* slot;                // undefined until loaded or initialised
  std::vector<int64_t> shape;  // what the slot must hold
  // Where a matrix may stay as its file stores it: then the slot is undefined. Null: it may not.
  QuantisedWeight* quantised = nullptr;
};

class Module {
 public:
  Module() = default;  // a root
  Module(Module& parent, std::string name) { parent.children_.emplace_back(std::move(name), this); }
  Module(const Module&) = delete;  // parents keep pointers to their children
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  // Every tensor of the tree, in order of declaration.
  std::vector<NamedTensor> named_parameters() const;
  // Every module below this one, by its full name ("transformer_blocks.0.attn.to_q"), in order of declaration.
  std::vector<std::pair<std::string, Module*>> named_modules() const;
  // Random weights for training from scratch; each tensor draws from the stream of its own name.
  void initialise(const Stream& stream);
  // Moves and converts every tensor. What is quantised stays so, and is widened to `dtype` from then on.
  void to(c10::Device device, c10::ScalarType dtype);
  void requires_grad(bool wanted);
  int64_t parameter_count() const;

 protected:
  void declare(std::string name, Tensor& slot, std::vector<int64_t> shape, QuantisedWeight* quantised = nullptr) {
    own_.push_back({std::move(name), &slot, std::move(shape), quantised});
  }
  // The shape of a slot that was declared before.
  void redeclare(std::string_view name, std::vector<int64_t> shape);
  // Lists a module that is owned elsewhere among the children.
  void adopt(std::string name, Module& child) { children_.emplace_back(std::move(name), &child); }
  // Fills this module's own slots (not its children's).
  virtual void initialise_own(const Stream& stream) {}

 private:
  void collect(const std::string& prefix, std::vector<NamedTensor>& out) const;
  void collect_modules(const std::string& prefix, std::vector<std::pair<std::string, Module*>>& out) const;
  void initialise_under(const std::string& prefix, const Stream& stream);

  std::vector<NamedTensor> own_;
  std::vector<std::pair<std::string, Module*>> children_;
};

}  // namespace resflow::nn
