#include "resflow/restore/assurance.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "resflow/core/error.h"
#include "resflow/image/resize.h"
#include "resflow/restore/faithfulness.h"
#include "resflow/restore/output_checks.h"

namespace resflow::restore {
namespace {

constexpr int64_t kRows = 256;

void check(const image::Picture& source, const RestoreOptions& options, Restored& made, const std::function<Restored(const RestoreOptions&)>& again) {
  auto found = complaints_about(source.pixels, made.picture.pixels, made.tiles);
  Json checks = {{"found", found}, {"retried", false}};
  if (!found.empty() && options.strength > 0) {
    RestoreOptions safer = options;
    safer.strength = 0;
    Restored second = again(safer);
    second.searched = std::move(made.searched);  // what was tried stays to be looked at, and was paid for
    if (made.manifest.contains("search")) second.manifest["search"] = made.manifest["search"];
    second.manifest["options"] = made.manifest["options"];  // as asked: who repeats them gets the same
    second.manifest["nfe"] = made.manifest.at("nfe").get<double>() + second.manifest.at("nfe").get<double>();
    made = std::move(second);
    found = complaints_about(source.pixels, made.picture.pixels, made.tiles);
    checks["retried"] = true;
    made.notes.push_back(fmt::format("the result had {}: made again by the degradation remover alone",
                                     fmt::join(checks["found"].get<std::vector<std::string>>(), " and ")));
  }
  if (!found.empty()) made.notes.push_back(fmt::format("the result has {}: look at it", fmt::join(found, " and ")));
  checks["left"] = found;
  made.manifest["checks"] = checks;
  if (!at::isfinite(made.picture.pixels).all().item<bool>())
    throw_user_error({.where = "restore", .problem = "the result holds values that are no numbers", .hint = "Try --dtype f32, or another --model"});
}

}  // namespace

void assure(const image::Picture& source, const RestoreOptions& options, Restored& made,
            const std::function<Restored(const RestoreOptions&)>& again) {
  if (options.checks) check(source, options, made, again);
  Faithfulness found = faithfulness(source.pixels, made.picture.pixels);
  if (options.max_change > 0 && found.largest > options.max_change) {
    const double before = found.largest;
    if (options.on_change == "refuse")
      throw_user_error({.where = "restore",
                        .problem = "the result departs from the source",
                        .wanted = fmt::format("a change of at most {:.3f}", options.max_change),
                        .got = fmt::format("{:.3f} at {:.0f} % of the width, {:.0f} % of the height", before, 100 * found.x, 100 * found.y),
                        .hint = "Lower --sigma-s or --strength, raise --max-change, or choose --on-change blend"});
    found = hold_back(source.pixels, made.picture.pixels, options.max_change);
    made.notes.push_back(fmt::format("held back: the largest change was {:.3f}, now {:.3f}", before, found.largest));
  }
  made.manifest["faithfulness"] = to_json(found);
}

void apply_mask(const image::Picture& source, const Tensor& mask, Restored& made) {
  Tensor& pixels = made.picture.pixels;
  const int64_t height = pixels.size(1), width = pixels.size(2);
  const double wanted = static_cast<double>(width) / static_cast<double>(height),
               got = static_cast<double>(mask.size(2)) / static_cast<double>(mask.size(1));
  if (std::abs(std::log(got / wanted)) > 0.02)
    throw_user_error({.where = "--mask",
                      .problem = "the mask has another shape than the picture",
                      .wanted = fmt::format("{}:{}", source.pixels.size(2), source.pixels.size(1)),
                      .got = fmt::format("{}:{}", mask.size(2), mask.size(1))});
  c10::InferenceMode inference;  // so the pixels were made
  const Tensor grey = mask.mean(0, /*keepdim=*/true);
  for (int64_t y = 0; y < height; y += kRows) {
    const image::Region rows{.y = y, .x = 0, .height = std::min(kRows, height - y), .width = width};
    const Tensor strength = image::resize_region(grey, height, width, rows, image::Kernel::bilinear).clamp_(0, 1);
    const Tensor before = image::resize_region(source.pixels, height, width, rows).clamp_(0, 1);
    Tensor part = pixels.narrow(1, y, rows.height);
    part.copy_(before + strength * (part - before));
  }
}

}  // namespace resflow::restore
