#include "resflow/generate/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace resflow::generate {
namespace {

constexpr int64_t kUsualSide = 1024;
constexpr int64_t kStepsWithGuidance = 28, kStepsWithout = 4;  // diffusers' default for dev; schnell's model card
constexpr double kStrength = 0.6, kFillStrength = 1;           // diffusers' defaults
constexpr double kMostTokens = 65536;                          // 4096 x 4096 pixels: attention grows with the square

constexpr std::array<Size, 17> kKontextSizes = {{{.width = 672, .height = 1568},
                                                 {.width = 688, .height = 1504},
                                                 {.width = 720, .height = 1456},
                                                 {.width = 752, .height = 1392},
                                                 {.width = 800, .height = 1328},
                                                 {.width = 832, .height = 1248},
                                                 {.width = 880, .height = 1184},
                                                 {.width = 944, .height = 1104},
                                                 {.width = 1024, .height = 1024},
                                                 {.width = 1104, .height = 944},
                                                 {.width = 1184, .height = 880},
                                                 {.width = 1248, .height = 832},
                                                 {.width = 1328, .height = 800},
                                                 {.width = 1392, .height = 752},
                                                 {.width = 1456, .height = 720},
                                                 {.width = 1504, .height = 688},
                                                 {.width = 1568, .height = 672}}};

bool given(Size size) { return size.width > 0; }

Size floored(Size size, int64_t multiple) {
  const auto down = [multiple](int64_t side) { return std::max(multiple, side / multiple * multiple); };
  return {.width = down(size.width), .height = down(size.height)};
}

Size enlarged(Size size, double by) {
  const auto up = [by](int64_t side) { return std::llround(static_cast<double>(side) * by); };
  return {.width = up(size.width), .height = up(size.height)};
}

[[noreturn]] void refuse(const std::string& problem, const std::string& hint, const std::string& wanted = "", const std::string& got = "") {
  throw_user_error({.where = "generate", .problem = problem, .wanted = wanted, .got = got, .hint = hint});
}

// Every picture is one that the model is shown, and every one that it must be shown is there.
void check_sources(const Sources& sources, const ModelFacts& model) {
  if (given(sources.image) && given(sources.reference)) refuse("an image to start from together with a reference", "Give one or the other");
  const bool control = model.control_net || model.beside == Beside::control, fill = model.beside == Beside::fill;
  if (given(sources.control) && !control)
    refuse("a control image, and nothing that takes one",
           "--control names a ControlNet; FLUX.1 Canny and Depth take a control image themselves, and dev with one of their adapters (--lora)");
  if (control && !given(sources.control)) refuse("no control image", "--control-image names it");
  if (given(sources.mask) && !fill) refuse("a mask, and a model that takes none", "FLUX.1 Fill takes one");
  if (fill && (!given(sources.image) || !given(sources.mask)))
    refuse("FLUX.1 Fill is shown a picture and what of it is to be painted", "White of the mask is painted, black is kept", "--image and --mask");
  if (given(sources.reference) && (control || fill)) refuse("a reference together with a control image or a mask", "Kontext takes neither");
}

void check_control(const GenerateOptions& options, const ModelFacts& model) {
  if (!model.control_net) return;
  if (options.control_start >= options.control_end)
    refuse("the ControlNet acts at no step", "", "--control-start below --control-end",
           fmt::format("{} and {}", options.control_start, options.control_end));
  if (options.control_mode >= model.control_modes || (options.control_mode < 0 && model.control_modes > 0))
    refuse("not a kind of control that this ControlNet knows", "Its model card says what the numbers mean",
           model.control_modes > 0 ? fmt::format("--control-mode 0 to {}", model.control_modes - 1) : "no --control-mode: it knows one",
           std::to_string(options.control_mode));
}

// The result's size where the options leave it open.
Size open_size(const GenerateOptions& options, const Sources& sources, const ModelFacts& model) {
  const Size wanted{.width = options.width, .height = options.height};
  if (given(sources.reference)) {
    const Size usual = floored(kontext_size(sources.reference), model.multiple);
    return {.width = wanted.width > 0 ? wanted.width : usual.width, .height = wanted.height > 0 ? wanted.height : usual.height};
  }
  const Size shown = given(sources.image) ? sources.image : enlarged(sources.control, options.control_enlarge);
  if (!given(shown)) return {.width = wanted.width > 0 ? wanted.width : kUsualSide, .height = wanted.height > 0 ? wanted.height : kUsualSide};
  if (wanted.width > 0 && wanted.height > 0) return wanted;
  if (wanted.width == 0 && wanted.height == 0) return floored(shown, model.multiple);
  // The other side follows.
  const double ratio = static_cast<double>(shown.width) / static_cast<double>(shown.height), multiple = static_cast<double>(model.multiple);
  const auto near = [&](double side) { return std::max<int64_t>(1, std::llround(side / multiple)) * model.multiple; };
  if (wanted.height == 0) return {.width = wanted.width, .height = near(static_cast<double>(wanted.width) / ratio)};
  return {.width = near(static_cast<double>(wanted.height) * ratio), .height = wanted.height};
}

void check_size(Size size, int64_t multiple) {
  const auto near = [multiple](int64_t side) { return std::max<int64_t>(1, (side + multiple / 2) / multiple) * multiple; };
  if (size.width % multiple != 0 || size.height % multiple != 0)
    throw_user_error({.where = "generate",
                      .problem = "a size that the model cannot make",
                      .wanted = fmt::format("multiples of {}", multiple),
                      .got = fmt::format("{}x{}", size.width, size.height),
                      .hint = fmt::format("The nearest is --width {} --height {}", near(size.width), near(size.height))});
  const double tokens = static_cast<double>(size.width / multiple) * static_cast<double>(size.height / multiple);
  if (tokens > kMostTokens)
    throw_user_error({.where = "generate",
                      .problem = "the picture is too large",
                      .wanted = fmt::format("at most {} tokens", kMostTokens),
                      .got = fmt::format("{}x{} = {} tokens", size.width, size.height, tokens)});
}

}  // namespace

Size kontext_size(Size reference) {
  const double ratio = static_cast<double>(reference.width) / static_cast<double>(reference.height);
  return *std::min_element(kKontextSizes.begin(), kKontextSizes.end(), [ratio](Size a, Size b) {
    const auto distance = [ratio](Size s) { return std::abs(ratio - static_cast<double>(s.width) / static_cast<double>(s.height)); };
    return distance(a) < distance(b);
  });
}

Plan make_plan(const GenerateOptions& options, const Sources& sources, const ModelFacts& model, const flow::FlowMatchEuler& schedule) {
  check_fields(options);
  check_sources(sources, model);
  check_control(options, model);
  Plan out;
  out.size = open_size(options, sources, model);
  check_size(out.size, model.multiple);
  if (given(sources.reference)) {
    out.reference = floored(options.reference_resize ? kontext_size(sources.reference) : sources.reference, model.multiple);
    check_size(out.reference, model.multiple);
  }
  out.tokens = (out.size.width / model.multiple) * (out.size.height / model.multiple);
  out.steps = options.steps > 0 ? options.steps : model.guidance ? kStepsWithGuidance : kStepsWithout;
  out.sigmas = schedule.sigmas(out.steps, out.tokens);
  if (!given(sources.image)) return out;
  out.strength = options.strength >= 0 ? options.strength : model.beside == Beside::fill ? kFillStrength : kStrength;
  // diffusers' get_timesteps: rounded towards more steps.
  const auto steps = static_cast<double>(out.steps);
  const auto left_out = static_cast<std::ptrdiff_t>(std::max(steps - std::min(steps * out.strength, steps), 0.0));
  if (left_out >= out.steps)
    throw_user_error({.where = "generate",
                      .problem = "the strength leaves no step",
                      .wanted = fmt::format("at least {:.3f} with {} steps", 1 / steps, out.steps),
                      .got = fmt::format("{}", out.strength)});
  out.sigmas.erase(out.sigmas.begin(), out.sigmas.begin() + left_out);
  return out;
}

}  // namespace resflow::generate
