#include "resflow/models/compact/compact.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <set>

#include "models/tiny_compact.h"
#include "resflow/weights/load.h"
#include "resflow/weights/safetensors.h"

using namespace resflow;
using namespace resflow::models;
namespace fs = std::filesystem;

namespace {

const CompactConfig kTiny{.channels = 8,
                          .remover_blocks = 1,
                          .stem_blocks = 1,
                          .head_blocks = 1,
                          .refine = 4,
                          .width = 32,
                          .heads = 2,
                          .depth = 2,
                          .mlp_ratio = 2,
                          .condition_rank = 4,
                          .radius = 1,
                          .sigma_data = 0.05};

struct Model : TinyCompact {
  explicit Model(bool random = true) : TinyCompact(kTiny, random) {}
};

}  // namespace

TEST_CASE("before training the remover is the identity and the flow gives the remover's output, whatever the noise") {
  const Model model(false);
  const auto image = picture("image", {1, 3, 32, 48});
  CHECK(at::equal(model.remover.forward(image).reference, image));
  const auto condition = model.prepare(image);
  for (const double t : {1.0, 0.6, 0.02})
    for (const double sigma_s : {0.05, 0.5}) {
      const auto z = image + 0.1 * drawn("z", {1, 3, 32, 48});
      CHECK(at::equal(model.flow.predict_x0(z, all({t}), all({sigma_s}), condition), image));
    }
}

TEST_CASE("the weighted loss is the squared error of the velocity in balanced time, held below 0.2") {
  const Model model;
  const auto image = picture("image", {1, 3, 32, 32});
  const auto condition = model.prepare(image);
  const auto clean = picture("clean", {1, 3, 32, 32}), start = condition.reference + 0.3 * drawn("noise", {1, 3, 32, 32});
  for (const double t : {1.0, 0.7, 0.25, 0.1, 0.03, 0.01}) {
    CAPTURE(t);
    const auto z = (1 - t) * clean + t * start;
    const auto x0 = model.flow.predict_x0(z, all({t}), all({0.3}), condition), v = model.flow.velocity(z, all({t}), all({0.3}), condition);
    const auto weighted = ((x0 - clean).square().mean() * model.flow.loss_weight(all({t}), all({0.3}))).item<double>();
    const double velocity = (v - (start - clean)).square().mean().item<double>() / (kTiny.sigma_data * kTiny.sigma_data);
    const double u = t * 0.3 / (t * 0.3 + (1 - t) * kTiny.sigma_data);  // balanced time
    CHECK(weighted == doctest::Approx(velocity * std::pow(t / std::max(u, 0.2), 2)).epsilon(1e-3));
  }
}

TEST_CASE("the time shift makes even steps even in balanced time, whatever sigma_s") {
  const Model model;
  for (const double sigma_s : {0.01, 0.05, 0.3, 2.0}) {
    const double factor = std::exp(model.flow.time_shift(sigma_s));
    for (int i = 0; i < 4; ++i) {
      const double even = 1 - 0.25 * i, t = factor / (factor + (1 / even - 1));  // as flow::shift_sigmas does
      const double noise = t * sigma_s, signal = (1 - t) * kTiny.sigma_data;
      CHECK(noise / (noise + signal) == doctest::Approx(even));
    }
  }
}

TEST_CASE("velocity is (z - x0) / t, for each sample its own") {
  const Model model;
  const auto image = picture("image", {2, 3, 32, 32});
  const auto condition = model.prepare(image);
  const auto z = image + 0.1 * drawn("z", {2, 3, 32, 32}), t = all({0.9, 0.2}), sigma_s = all({0.1, 0.3});
  const auto x0 = model.flow.predict_x0(z, t, sigma_s, condition), v = model.flow.velocity(z, t, sigma_s, condition);
  CHECK(distance(z - t.view({2, 1, 1, 1}) * v, x0) < 1e-5);
  // The network works at all: it moves the reference, and its time and start noise are heard.
  CHECK(distance(x0, condition.reference) > 1e-3);
  CHECK(distance(x0, model.flow.predict_x0(z, t, all({0.1, 0.31}), condition)) > 1e-6);
}

TEST_CASE("a condition computed once serves every candidate of a batch") {
  const Model model;
  const auto image = picture("image", {1, 3, 32, 48});
  const auto z = image + 0.1 * drawn("z", {3, 3, 32, 48}), t = all({0.9, 0.5, 0.5}), sigma_s = all({0.1, 0.1, 0.4});
  const auto together = model.flow.predict_x0(z, t, sigma_s, model.prepare(image));
  CHECK(distance(together, model.flow.predict_x0(z, t, sigma_s, model.prepare(image.expand({3, -1, -1, -1})))) < 1e-5);
  for (int64_t i = 0; i < 3; ++i)
    CHECK(distance(together.narrow(0, i, 1),
                   model.flow.predict_x0(z.narrow(0, i, 1), t.narrow(0, i, 1), sigma_s.narrow(0, i, 1), model.prepare(image))) < 1e-5);
}

TEST_CASE("a condition depends on the image alone: predicting leaves it as it was") {
  const Model model;
  const auto image = picture("image", {1, 3, 32, 32});
  const auto condition = model.prepare(image);
  REQUIRE(condition.tokens.size() == 2);
  std::vector<Tensor> kept = {condition.reference.clone(), condition.map.clone()};
  for (const auto& [key, value] : condition.tokens) kept.insert(kept.end(), {key.clone(), value.clone()});
  const auto predict = [&](double t, double sigma_s) {
    return model.flow.predict_x0(drawn("z", {2, 3, 32, 32}), all({t}), all({sigma_s}), condition);
  };
  const auto first = predict(0.9, 0.1);
  predict(0.1, 0.5);
  CHECK(at::equal(predict(0.9, 0.1), first));
  const auto again = model.prepare(image);
  size_t i = 2;
  CHECK(at::equal(condition.reference, kept[0]));
  CHECK(at::equal(condition.map, kept[1]));
  for (size_t block = 0; block < 2; ++block, i += 2) {
    CHECK(at::equal(condition.tokens[block].key, kept[i]));
    CHECK(at::equal(again.tokens[block].key, kept[i]));
    CHECK(at::equal(condition.tokens[block].value, kept[i + 1]));
  }
  CHECK(distance(model.prepare(picture("other", {1, 3, 32, 32})).tokens[1].key, kept[4]) > 1e-3);
}

TEST_CASE("what is computed for a place does not depend on where it lies in the picture, nor on the picture's size") {
  const Model model;
  // Radius 1 in 2 blocks and the convolutions reach less than 5 tokens of 16 px.
  const auto wide = picture("wide", {1, 3, 96, 240}), noise = drawn("noise", {1, 3, 96, 240});
  for (const bool upright : {false, true}) {
    CAPTURE(upright);
    const int64_t axis = upright ? 2 : 3;
    const auto run = [&](int64_t start, int64_t length) {
      const auto part = [&](const Tensor& t) { return (upright ? t.transpose(2, 3) : t).narrow(axis, start, length).contiguous(); };
      const auto condition = model.prepare(part(wide));
      return model.flow.predict_x0(condition.reference + 0.1 * part(noise), all({0.7}), all({0.2}), condition);
    };
    const auto whole = run(0, 240), shifted = run(16, 208);
    CHECK(distance(whole.narrow(axis, 96, 48), shifted.narrow(axis, 80, 48)) < 1e-5);
    CHECK(distance(whole.narrow(axis, 0, 48), shifted.narrow(axis, 0, 48)) > 1e-3);
  }
}

TEST_CASE("a gradient reaches every parameter but those behind the last block's condition tokens, which go nowhere") {
  Model model;
  model.remover.requires_grad(true);
  model.flow.requires_grad(true);
  const auto image = picture("image", {2, 3, 32, 48});
  const auto x0 = model.flow.predict_x0(image + 0.1 * drawn("z", {2, 3, 32, 48}), all({0.8, 0.3}), all({0.1, 0.3}), model.prepare(image));
  (x0 * drawn("weights", {2, 3, 32, 48})).sum().backward();
  const std::string last = "transformer_blocks.1.";
  const std::set<std::string> unused = {last + "attn.to_q.condition.down",   last + "attn.to_q.condition.up",  last + "attn.to_out.0.condition.down",
                                        last + "attn.to_out.0.condition.up", last + "ff.net.2.condition.down", last + "ff.net.2.condition.up"};
  for (const nn::Module* part : {static_cast<const nn::Module*>(&model.remover), static_cast<const nn::Module*>(&model.flow)})
    for (const auto& tensor : part->named_parameters()) {
      CAPTURE(tensor.name);
      const bool reached = tensor.slot->grad().defined() && tensor.slot->grad().abs().max().item<double>() > 1e-9;
      CHECK(reached != unused.contains(tensor.name));
    }
}

TEST_CASE("parameters are named once, and blocks as diffusers names FLUX's") {
  const Model model;
  std::set<std::string> names;
  for (const auto& tensor : model.flow.named_parameters()) CHECK(names.insert(tensor.name).second);
  for (const char* name : {"x_embedder.weight", "transformer_blocks.1.norm1.linear.bias", "transformer_blocks.0.attn.to_out.0.weight",
                           "transformer_blocks.0.attn.norm_k.weight", "transformer_blocks.1.ff.net.0.proj.weight",
                           "transformer_blocks.1.ff.net.2.bias", "proj_out.weight"})
    CHECK(names.contains(name));
}

TEST_CASE("bf16 weights give nearly the picture that float32 weights give, whose coordinates stay float32") {
  Model model;
  const auto image = picture("image", {1, 3, 48, 48}), z = image + 0.1 * drawn("z", {1, 3, 48, 48});
  const auto wide = model.flow.predict_x0(z, all({0.7}), all({0.3}), model.prepare(image));
  const auto plain = model.prepare(image).reference;
  model.remover.to(c10::kCPU, at::kBFloat16);
  model.flow.to(c10::kCPU, at::kBFloat16);
  const auto half = image.to(at::kBFloat16);
  auto removed = model.remover.forward(half);
  removed.reference = removed.reference.to(at::kFloat);
  const auto narrow = model.flow.predict_x0(z, all({0.7}), all({0.3}), model.flow.prepare(half, removed));
  CHECK((narrow.scalar_type() == at::kFloat));
  CHECK(((narrow - wide).norm() / (wide - plain).norm()).item<double>() < 0.1);
}

TEST_CASE("sides that are no multiples of a token's are a bug of the caller") {
  const Model model;
  CHECK_THROWS_WITH_AS(model.prepare(picture("image", {1, 3, 32, 40})), doctest::Contains("multiples of 16"), c10::Error);
}

TEST_CASE("a model without blocks, without condition deltas, or with neither, runs") {
  for (const int64_t depth : {0, 1})
    for (const int64_t rank : {0, 4}) {
      auto config = kTiny;
      config.depth = depth;
      config.condition_rank = rank;
      CompactModel model(config, {});
      randomise(model.remover, 1);
      randomise(model.flow, 2);
      const auto image = picture("image", {1, 3, 32, 32});
      const auto x0 = model.flow.predict_x0(image, all({0.5}), all({0.2}), model.flow.prepare(image, model.remover.forward(image)));
      CHECK(x0.sizes() == image.sizes());
      CHECK(at::isfinite(x0).all().item<bool>());
    }
}

TEST_CASE("a model that is saved and loaded gives the same picture, and a file of anything else is the user's to mend") {
  const Model model;
  const fs::path path = fs::temp_directory_path() / ("resflow_compact_" + std::to_string(getpid()) + ".safetensors");
  auto tensors = weights::state_of(model.remover, "dr.");
  for (auto& named : weights::state_of(model.flow, "flow.")) tensors.push_back(named);
  const std::string config = fields_to_json(kTiny).dump();
  weights::write_safetensors(path, tensors, {{"family", "compact"}, {"config", config}, {"defaults", R"({"steps": 3})"}});
  const auto loaded = CompactModel::load(path, c10::kCPU, at::kFloat);
  CHECK(loaded->defaults.steps == 3);
  CHECK(loaded->config.width == 32);
  const auto image = picture("image", {1, 3, 32, 32});
  const auto predict = [&](const CompactModel& m) {
    return m.flow.predict_x0(image, all({0.5}), all({0.2}), m.flow.prepare(image, m.remover.forward(image)));
  };
  CHECK(distance(predict(*loaded), predict(model)) < 1e-6);  // the file's memory is aligned otherwise: other rounding
  const auto fingerprint = loaded->fingerprint;
  CHECK(CompactModel::load(path, c10::kCPU, at::kBFloat16)->fingerprint == fingerprint);

  const auto load = [&] { CompactModel::load(path, c10::kCPU, at::kFloat); };
  const auto write = [&](const std::map<std::string, std::string>& metadata) { weights::write_safetensors(path, tensors, metadata); };
  write({{"family", "flux"}, {"config", config}});
  CHECK_THROWS_WITH_AS(load(), doctest::Contains("not a compact model"), UserError);
  write({});
  CHECK_THROWS_WITH_AS(load(), doctest::Contains("not a compact model"), UserError);
  write({{"family", "compact"}, {"config", "{"}});
  CHECK_THROWS_WITH_AS(load(), doctest::Contains("'config' is not JSON"), UserError);
  write({{"family", "compact"}, {"config", R"({"width": 1})"}});
  CHECK_THROWS_WITH_AS(load(), doctest::Contains("width is out of range"), UserError);
  write({{"family", "compact"}, {"config", R"({"width": 40, "heads": 2})"}});
  CHECK_THROWS_WITH_AS(load(), doctest::Contains("multiple of 16 x 2 heads"), UserError);
  const std::string dropped = tensors.back().first;
  tensors.pop_back();
  write({{"family", "compact"}, {"config", config}});
  CHECK_THROWS_WITH_AS(load(), doctest::Contains(("missing: " + dropped).c_str()), UserError);
  fs::remove(path);
  CHECK_THROWS_AS(load(), UserError);
}
