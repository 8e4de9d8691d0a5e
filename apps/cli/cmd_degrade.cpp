// resflow degrade IN... -o OUT
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/degradation/degradation.h"
#include "resflow/restore/batch.h"

namespace resflow::cli {
namespace {

struct State {
  std::vector<std::string> inputs;
  std::string output, recipe = "real-esrgan", format = "auto";
  int scale = 4;
  int64_t seed = 0, crop = 0;
  bool json = false;
};

int run(const State& state) {
  check_field("scale", state.scale, Range{1, 8});
  check_field("crop", state.crop, Range{0, 65500});
  check_field("seed", state.seed, Range{0, 9e15});
  const auto& recipe = degradation::recipe(state.recipe);
  const auto items = restore::plan_batch(state.inputs, state.output, state.format);
  create_folder(items.front().output.parent_path());
  Json done = Json::array();
  int64_t failed = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if (interrupted().stop_requested()) throw Cancelled();
    try {
      image::Picture picture = image::read_picture(items[i].input);
      int64_t height = picture.pixels.size(1), width = picture.pixels.size(2);
      const auto side = [&](int64_t length) { return (state.crop > 0 ? std::min(state.crop, length) : length) / state.scale * state.scale; };
      const int64_t y = (height - side(height)) / 2, x = (width - side(width)) / 2;
      height = side(height);
      width = side(width);
      if (height == 0 || width == 0)
        throw_user_error(
            {.where = items[i].input.string(), .problem = "too small to degrade", .wanted = fmt::format("sides of at least {} px", state.scale)});
      const auto cut = [&](const Tensor& t) { return t.slice(1, y, y + height).slice(2, x, x + width).contiguous(); };
      // Each picture has its own stream, by its place in the list.
      picture.pixels = degradation::degrade(cut(picture.pixels), recipe, state.scale, Stream(static_cast<uint64_t>(state.seed), "degrade", i));
      if (picture.alpha.defined()) picture.alpha = at::avg_pool2d(cut(picture.alpha), state.scale);
      image::write_picture(items[i].output, picture, {.bits = 8, .metadata = false});
      log_info(fmt::format("{} -> {}  {}x{}", items[i].input.string(), items[i].output.string(), picture.pixels.size(2), picture.pixels.size(1)));
      done.push_back({{"input", items[i].input.string()}, {"output", items[i].output.string()}});
    } catch (const UserError& error) {
      ++failed;
      log_warn(error.what());
      done.push_back({{"input", items[i].input.string()}, {"error", error.what()}});
    }
  }
  if (state.json)
    std::printf("%s\n",
                Json({{"recipe", state.recipe}, {"scale", state.scale}, {"seed", state.seed}, {"items", done}, {"failed", failed}}).dump(2).c_str());
  return failed == 0 ? kGood : items.size() == 1 ? kUserError : kSomeFailed;
}

}  // namespace

std::function<int()> command_degrade(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("inputs", state->inputs, "Pictures, folders of pictures, globs")->required();
  app.add_option("-o,--output", state->output, "A file or a folder")->required();
  std::string recipes;
  for (const auto& name : degradation::recipe_names()) recipes += (recipes.empty() ? "" : " | ") + name;
  app.add_option("--recipe", state->recipe, "Which degradations (" + recipes + ")")->capture_default_str();
  app.add_option("--scale", state->scale, "How much smaller the result is, 1..8")->capture_default_str();
  app.add_option("--seed", state->seed, "Seed: the same seed gives the same pixels")->capture_default_str();
  app.add_option("--crop", state->crop, "Degrade only a centre crop with sides of so many pixels; 0 = all")->capture_default_str();
  app.add_option("--format", state->format, "Format of results in a folder (auto | png | jpg | webp | tiff | avif)")->capture_default_str();
  app.add_flag("--json", state->json, "Print what was done as JSON");
  app.footer("Example:\n  resflow degrade photo.png -o poor.png --recipe see-sr --scale 4 --seed 7");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
