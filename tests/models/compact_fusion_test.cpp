// The fusions of the compact model that its sequence is compared with: addition and controlnet.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "models/tiny_compact.h"
#include "resflow/models/compact/compact.h"

using namespace resflow;
using namespace resflow::models;

namespace {

CompactConfig tiny(const std::string& fusion) {
  CompactConfig config = three_blocks();
  config.fusion = fusion;
  return config;
}

struct Model : TinyCompact {
  explicit Model(const std::string& fusion, bool random = true) : TinyCompact(tiny(fusion), random) {}
  std::map<std::string, Tensor*> slots() {
    std::map<std::string, Tensor*> out;
    for (const auto& tensor : flow.named_parameters()) out[tensor.name] = tensor.slot;
    return out;
  }
};

}  // namespace

TEST_CASE("before training every fusion gives the remover's output") {
  const auto image = picture("image", {1, 3, 32, 48});
  for (const char* fusion : {"sequence", "addition", "controlnet"}) {
    CAPTURE(fusion);
    const Model model(fusion, false);
    CHECK(at::equal(model.flow.predict_x0(image + 0.1 * drawn("z", {1, 3, 32, 48}), all({0.6}), all({0.3}), model.prepare(image)), image));
  }
}

TEST_CASE("a sequence has low-rank deltas, addition a map, a control network half as many blocks, rounded up") {
  std::map<std::string, std::set<std::string>> names;
  for (const char* fusion : {"sequence", "addition", "controlnet"})
    for (const auto& [name, slot] : Model(fusion).slots()) names[fusion].insert(name);
  CHECK(names["sequence"].contains("x_embedder.condition.down"));
  CHECK_FALSE(names["sequence"].contains("condition_embedder.weight"));
  for (const char* fusion : {"addition", "controlnet"}) {
    CHECK(names[fusion].contains("condition_embedder.weight"));
    CHECK_FALSE(names[fusion].contains("x_embedder.condition.down"));
  }
  CHECK_FALSE(names["addition"].contains("control_out.0.weight"));
  CHECK(names["controlnet"].contains("control_blocks.1.attn.to_q.weight"));
  CHECK_FALSE(names["controlnet"].contains("control_blocks.2.attn.to_q.weight"));
}

TEST_CASE("one condition serves a batch of candidates, under every fusion") {
  const auto image = picture("image", {1, 3, 32, 48}), z = image + 0.1 * drawn("z", {3, 3, 32, 48});
  const auto t = all({0.9, 0.5, 0.5}), sigma_s = all({0.1, 0.1, 0.4});
  for (const char* fusion : {"sequence", "addition", "controlnet"}) {
    CAPTURE(fusion);
    const Model model(fusion);
    const auto together = model.flow.predict_x0(z, t, sigma_s, model.prepare(image)),
               many = model.flow.predict_x0(z, t, sigma_s, model.prepare(image.expand({3, -1, -1, -1})));
    CHECK(distance(together, many) < 1e-5);
    const auto one = select(model.prepare(image.expand({3, -1, -1, -1})), at::tensor({1}, at::kLong));
    CHECK(distance(model.flow.predict_x0(z.narrow(0, 1, 1), t.narrow(0, 1, 1), sigma_s.narrow(0, 1, 1), one), together.narrow(0, 1, 1)) < 1e-5);
  }
}

// Addition without its map, and a control network without its last maps, are one and the same model: the blocks alone.
TEST_CASE("what a fusion adds can be taken away") {
  Model addition("addition"), control("controlnet");
  auto from = control.slots();
  for (auto& [name, slot] : addition.slots()) *slot = *from.at(name);
  const auto image = picture("image", {1, 3, 32, 48}), z = image + 0.1 * drawn("z", {1, 3, 32, 48});
  const auto predict = [&](Model& model) { return model.flow.predict_x0(z, all({0.7}), all({0.2}), model.prepare(image)); };
  for (auto& slot :
       {*from.at("control_out.0.weight"), *from.at("control_out.0.bias"), *from.at("control_out.1.weight"), *from.at("control_out.1.bias")})
    slot.zero_();
  const Tensor blocks_alone = predict(control), with_map = predict(addition);
  CHECK(distance(with_map, blocks_alone) > 1e-4);  // the map is heard
  *addition.slots().at("condition_embedder.weight") = at::zeros_like(*from.at("condition_embedder.weight"));
  *addition.slots().at("condition_embedder.bias") = at::zeros_like(*from.at("condition_embedder.bias"));
  CHECK(distance(predict(addition), blocks_alone) < 1e-6);
}

TEST_CASE("the control network's first block speaks after the first blocks, its last after the last") {
  Model model("controlnet");
  const auto image = picture("image", {1, 3, 32, 48}), z = image + 0.1 * drawn("z", {1, 3, 32, 48});
  const auto predict = [&] { return model.flow.predict_x0(z, all({0.7}), all({0.2}), model.prepare(image)); };
  const auto before = predict();
  for (const char* name : {"control_out.0.bias", "control_out.1.bias"}) {
    auto& bias = *model.slots().at(name);
    const auto kept = bias.clone();
    bias += drawn("push", bias.sizes());  // the same for every channel would be taken out again by the next norm
    CHECK(distance(predict(), before) > 1e-4);
    bias = kept;
  }
  CHECK(distance(predict(), before) == 0);
}

TEST_CASE("a gradient reaches every parameter of every fusion but a sequence's last, unseen ones") {
  for (const char* fusion : {"addition", "controlnet"}) {
    CAPTURE(fusion);
    Model model(fusion);
    model.flow.requires_grad(true);
    const auto image = picture("image", {2, 3, 32, 48});
    const auto x0 = model.flow.predict_x0(image + 0.1 * drawn("z", {2, 3, 32, 48}), all({0.8, 0.3}), all({0.1, 0.3}), model.prepare(image));
    (x0 * drawn("weights", {2, 3, 32, 48})).sum().backward();
    for (const auto& tensor : model.flow.named_parameters()) {
      CAPTURE(tensor.name);
      CHECK((tensor.slot->grad().defined() && tensor.slot->grad().abs().max().item<double>() > 1e-9));
    }
  }
}
