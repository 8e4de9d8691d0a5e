#include "resflow/image/color_fix.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

using namespace resflow;
using namespace resflow::image;

namespace {
double apart(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }
}  // namespace

TEST_CASE("every colour fix is the identity where content and style agree") {
  for (const auto& [h, w] : {std::pair<int64_t, int64_t>{40, 57}, {1, 1}, {3, 100}}) {
    const Tensor image = at::rand({2, 3, h, w});
    for (const auto& name : color_fixes().names()) {
      CAPTURE(name);
      CHECK(apart(fix_color(name, image, image), image) < 2e-5);
    }
  }
}

TEST_CASE("every colour fix leaves its arguments alone and keeps shape and finiteness") {
  const Tensor content = at::rand({1, 3, 20, 30}), style = at::rand({1, 3, 20, 30}), before = content.clone(), style_before = style.clone();
  for (const auto& name : color_fixes().names()) {
    const Tensor out = fix_color(name, content, style);
    CHECK(out.sizes() == content.sizes());
    CHECK(at::isfinite(out).all().item<bool>());
    CHECK(at::equal(content, before));
    CHECK(at::equal(style, style_before));
  }
}

TEST_CASE("every fix but none removes a planted colour cast") {
  const Tensor style = 0.5 + 0.05 * at::randn({1, 3, 96, 96}), cast = at::tensor({0.08f, 0.f, -0.08f}).view({1, 3, 1, 1});
  for (const auto& name : color_fixes().names()) {
    CAPTURE(name);
    const Tensor left = (fix_color(name, style + cast, style) - style).mean({0, 2, 3});
    if (name == "none") CHECK(left.abs().max().item<double>() > 0.07);
    if (name == "wavelet" || name == "adain" || name == "tone") CHECK(left.abs().max().item<double>() < 1e-4);
    // Lightness stays the content's: the hue goes, its grey part does not.
    if (name == "lab") CHECK((left - left.mean()).abs().max().item<double>() < 0.01);
  }
}

TEST_CASE("wavelet keeps the content's fine detail and takes the style's broad tone") {
  const Tensor columns = at::arange(200) % 2;
  const Tensor detail = (columns.to(at::kFloat) - 0.5).view({1, 1, 1, 200}).expand({1, 3, 200, 200}) * 0.2;
  const Tensor broad = at::linspace(0.3, 0.7, 200).view({1, 1, 200, 1}).expand({1, 3, 200, 200});
  const Tensor out = fix_color("wavelet", 0.4 + detail, broad);
  const auto inside = [](const Tensor& t) { return t.slice(2, 64, 136).slice(3, 64, 136); };  // the pyramid reaches 62 px
  CHECK(apart(inside(out), inside(broad + detail)) < 1e-4);
}

TEST_CASE("tone takes the style's brightness and leaves the content whatever is finer") {
  const Tensor columns = (at::arange(400) % 80 < 40).to(at::kFloat);
  const Tensor detail = (columns - 0.5).view({1, 1, 1, 400}).expand({1, 3, 400, 400}) * 0.2;  // bars of 40 px: a wavelet takes half of them
  const Tensor broad = at::linspace(0.3, 0.7, 400).view({1, 1, 400, 1}).expand({1, 3, 400, 400});
  const auto inside = [](const Tensor& t) { return t.slice(2, 192, 208).slice(3, 180, 220); };  // three deviations from the borders
  const Tensor out = fix_color("tone", 0.4 + detail, broad);
  CHECK(apart(inside(out), inside(broad + detail)) < 2e-3);
  CHECK(apart(inside(fix_color("wavelet", 0.4 + detail, broad)), inside(broad + detail)) > 0.02);
}

TEST_CASE("unequal sizes are a bug and unknown names the user's error") {
  CHECK_THROWS_AS(fix_color("adain", at::zeros({1, 3, 4, 4}), at::zeros({1, 3, 4, 5})), c10::Error);
  CHECK_THROWS_AS(fix_color("wavelets", at::zeros({1, 3, 4, 4}), at::zeros({1, 3, 4, 4})), UserError);
}
