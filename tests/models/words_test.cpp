#include "resflow/models/compact/words.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <set>

#include "models/tiny_compact.h"
#include "resflow/core/error.h"

using namespace resflow;
using namespace resflow::models;

namespace {

CompactConfig tiny(bool words) {
  CompactConfig config = three_blocks();
  config.words = words;
  return config;
}

Tensor said(std::string_view caption) { return word_numbers(words_of(caption)).unsqueeze(0); }

}  // namespace

TEST_CASE("a caption says how much there is of each flaw") {
  const auto check = [](std::string_view caption, Said blur, Said noise, Said compression) {
    CAPTURE(caption);
    CHECK(words_of(caption) == Words{blur, noise, compression});
  };
  using enum Said;
  check("", nothing, nothing, nothing);
  check("a church on a hill, at dusk", nothing, nothing, nothing);
  check("a blurred, noisy photograph", some, some, nothing);
  check("Strong noise, no blur, slight JPEG artifacts", none, strong, some);
  check("very grainy film, heavily compressed", nothing, strong, strong);
  check("no people, noise", nothing, some, nothing);             // the comma ends what "no" reaches
  check("a very old house with noise", nothing, some, nothing);  // and so does another word
  check("blurry; not blurred", none, nothing, nothing);          // the last counts
  check("\xc3\xa9t\xc3\xa9 \xff noise", nothing, some, nothing);
}

TEST_CASE("what is said reads back, and has rows of its own in the table") {
  std::set<int64_t> rows;
  for (int64_t blur = 0; blur < kSaid; ++blur)
    for (int64_t noise = 0; noise < kSaid; ++noise)
      for (int64_t compression = 0; compression < kSaid; ++compression) {
        const Words words{static_cast<Said>(blur), static_cast<Said>(noise), static_cast<Said>(compression)};
        CHECK(words_of(text_of(words)) == words);
        const Tensor numbers = word_numbers(words);
        for (int64_t i = 0; i < kFlaws; ++i) rows.insert(numbers[i].item<int64_t>());
        CHECK(numbers.equal(at::tensor({blur, kSaid + noise, 2 * kSaid + compression}, at::kLong)));
      }
  CHECK(rows.size() == kFlaws * kSaid);
}

TEST_CASE("words change what a model with words sees, each sample's its own picture, and nothing said is the same as no words") {
  const TinyCompact model(tiny(true)), deaf(tiny(false));
  const auto image = picture("image", {1, 3, 32, 48}), z = image + 0.1 * drawn("z", {1, 3, 32, 48});
  const auto predict = [&](const TinyCompact& m, const Tensor& at, const Tensor& words) {
    const auto times = at::full({at.size(0)}, .6), sigmas = at::full({at.size(0)}, .2);
    const auto images = image.expand({at.size(0), -1, -1, -1});
    return m.flow.predict_x0(at, times, sigmas, m.flow.prepare(images, m.remover.forward(images), words));
  };
  CHECK(at::equal(predict(model, z, said("")), predict(model, z, {})));
  CHECK(at::equal(predict(deaf, z, said("strong noise")), predict(deaf, z, {})));
  const auto noisy = predict(model, z, said("strong noise")), calm = predict(model, z, said("no noise")),
             blurred = predict(model, z, said("strong blur"));
  CHECK(distance(noisy, calm) > 1e-4);
  CHECK(distance(noisy, blurred) > 1e-4);
  const auto both = predict(model, z.expand({2, -1, -1, -1}), at::cat({said("strong noise"), said("no noise")}));
  CHECK(distance(both, at::cat({noisy, calm})) < 1e-5);
}

TEST_CASE("text is three more keys and values a block, that every latent token sees and `select` keeps") {
  const TinyCompact model(tiny(true));
  const auto image = picture("image", {2, 3, 32, 48});
  const auto condition = model.flow.prepare(image, model.remover.forward(image), at::cat({said("noise"), said("blur")}));
  CHECK(condition.mask.sizes() == at::IntArrayRef{6, 2 * 6 + kFlaws});
  CHECK(condition.mask.narrow(1, 12, kFlaws).eq(0).all().item<bool>());
  REQUIRE(condition.tokens.size() == 3);
  CHECK(condition.tokens[2].key.size(2) == 6 + kFlaws);
  const auto second = select(condition, at::tensor({1}, at::kLong));
  CHECK(at::equal(second.tokens[1].value, condition.tokens[1].value.narrow(0, 1, 1)));
}

TEST_CASE("a gradient reaches the table and the text's stream, but what its last tokens turn into") {
  TinyCompact model(tiny(true));
  model.flow.requires_grad(true);
  const auto image = picture("image", {2, 3, 32, 48});
  const auto x0 = model.flow.predict_x0(image + 0.1 * drawn("z", {2, 3, 32, 48}), all({0.8, 0.3}), all({0.1, 0.3}),
                                        model.flow.prepare(image, model.remover.forward(image), at::cat({said("strong noise"), said("no blur")})));
  (x0 * drawn("weights", {2, 3, 32, 48})).sum().backward();
  int seen = 0;
  for (const auto& tensor : model.flow.named_parameters()) {
    const bool text = tensor.name.find("add_") != std::string::npos || tensor.name.find("context") != std::string::npos;
    const bool unseen = tensor.name.starts_with("transformer_blocks.2.") && tensor.name.find("_k") == std::string::npos &&
                        tensor.name.find("_v") == std::string::npos && tensor.name.find("norm1_context") == std::string::npos;
    if (tensor.name != "word_embedder.weight" && (!text || unseen)) continue;
    CAPTURE(tensor.name);
    CHECK((tensor.slot->grad().defined() && tensor.slot->grad().abs().max().item<double>() > 1e-9));
    ++seen;
  }
  CHECK(seen > 20);
}

TEST_CASE("words without a sequence are refused") {
  CompactConfig config = tiny(true);
  config.fusion = "addition";
  CHECK_THROWS_AS(CompactFlow{config}, UserError);
}
