#include "resflow/restore/compact_backbone.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <memory>

#include "resflow/core/error.h"
#include "resflow/flow/schedule.h"

namespace resflow::restore {

Defaults CompactBackbone::defaults() const {
  const auto& own = model_.defaults;
  return {.steps = own.steps, .search_steps = own.search_steps, .sigma_s = own.sigma_s, .search_sigma_s = own.search_sigma_s, .tile = 512};
}

void CompactBackbone::check(const RestoreOptions& options) const {
  const Json asked = fields_to_json(options), usual = fields_to_json(RestoreOptions{});
  for (const char* name : {"guidance", "condition", "control_scale", "max_sequence_length"})
    if (asked.at(name) != usual.at(name))
      throw_user_error(
          {.where = name, .problem = "an option of FLUX", .got = "the compact model", .hint = "Leave it out, or name FLUX with --model"});
}

std::vector<double> CompactBackbone::sigmas(const PictureSettings& settings, int64_t height, int64_t width) const {
  const double mu = model_.flow.time_shift(settings.options.sigma_s), first = flow::shift_sigmas({settings.options.strength}, -mu)[0];
  return flow::shift_sigmas(flow::linear_sigmas(static_cast<int>(settings.options.steps), first), mu);
}

std::vector<std::string> CompactBackbone::begin(const PictureSettings& settings, const Job&) {
  if (!model_.flow.knows_words() || settings.options.caption.empty()) return {};
  const std::string heard = models::text_of(models::words_of(settings.options.caption));
  return {heard.empty() ? "the caption says nothing of blur, noise or compression" : "heard in the caption: " + heard};
}

TileFlow CompactBackbone::tile(const TileInput& input, const PictureSettings& settings) {
  const auto condition = std::make_shared<const models::CompactCondition>(
      model_.flow.prepare(input.enlarged.to(device_, dtype_), {.reference = input.reference, .features = input.features},
                          models::word_numbers(models::words_of(settings.options.caption)).unsqueeze(0)));
  const double sigma_s = settings.options.sigma_s;
  const auto same = [](const Tensor& x0) { return x0; };
  return {.sigmas = sigmas(settings, input.tile.height, input.tile.width),
          .velocity =
              [this, condition, sigma_s](const Tensor& z, double t) {
                const auto each = [&](double value) { return at::full({z.size(0)}, value, at::TensorOptions().dtype(at::kFloat).device(device_)); };
                return model_.flow.velocity(z, each(t), each(sigma_s), *condition);
              },
          .coordinates = {.center = input.reference, .sigma_s = sigma_s, .guess = {}},
          .noise =
              [this, tile = input.tile](const Stream& field) {
                return (noise_window(field, 3, tile.y, tile.x, tile.height, tile.width) + model_.flow.shared_noise(field)).to(device_);
              },
          .decode = same,
          .preview = same};
}

}  // namespace resflow::restore
