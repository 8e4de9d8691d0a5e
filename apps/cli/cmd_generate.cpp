// resflow generate "a prompt" -o OUT
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "resflow/core/device.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/core/memory_use.h"
#include "resflow/generate/picture_file.h"

namespace resflow::cli {
namespace {

struct State {
  std::string prompt, output, image, reference, control, mask;
  bool json = false;
  generate::ModelOptions model;
  generate::MemoryOptions memory;
  generate::GenerateOptions options;
  image::EncodeOptions encode;
  image::DecodeLimits limits;
};

Tensor pixels_of(const std::string& path, const image::DecodeLimits& limits) {
  if (path.empty()) return {};
  const auto picture = image::read_picture(path, limits);
  for (const auto& note : picture.notes) log_warn(path + ": " + note);
  return picture.pixels;
}

int run(State& state) {
  check_fields(state.model);
  check_fields(state.memory);
  check_fields(state.options);
  check_fields(state.encode);
  check_fields(state.limits);
  const auto files = generate::plan_files(state.output, state.options.n);
  if (state.encode.format != "auto" && state.encode.format != image::format_of_extension(state.output))
    throw_user_error(
        {.where = state.output, .problem = "--format and the file's extension disagree", .wanted = "." + state.encode.format, .got = state.output});
  create_folder(files.front().parent_path());

  if (parse_device(state.model.device).is_cpu()) return_large_blocks();  // what `resflow doctor` counts is then all there is
  generate::Generator generator(state.model, state.memory);
  const generate::Request request{.prompt = state.prompt,
                                  .image = pixels_of(state.image, state.limits),
                                  .reference = pixels_of(state.reference, state.limits),
                                  .control = pixels_of(state.control, state.limits),
                                  .mask = pixels_of(state.mask, state.limits)};
  const auto plan = generator.plan(request, state.options);
  const auto memory = generator.choose(request, state.options);
  log_info(fmt::format("{}: {}x{}, {} steps, about {} of memory (--offload {}); reading the text", generator.model().name, plan.size.width,
                       plan.size.height, plan.sigmas.size() - 1, bytes_text(memory.needed), offload_name(memory.mode)));
  if (!memory.fits())
    log_warn(fmt::format("{} of memory are free, which may not be enough; `resflow doctor` says what takes how much", bytes_text(memory.limit)));
  Json items = Json::array();
  const Job job{.on_progress = progress_printer(""), .stop = interrupted()};
  generator.generate(request, state.options, job, [&](int64_t index, generate::Generated made) {
    end_progress();
    const auto& path = files[static_cast<size_t>(index)];
    for (auto& note : generate::write_generated(path, made, state.encode)) made.notes.push_back(std::move(note));
    if (index == 0)
      for (const auto& note : made.notes) log_warn(note);
    const auto& seconds = made.manifest["seconds"];
    log_info(fmt::format("{}  seed {}, {:.1f} s", path.string(), made.manifest["options"]["seed"].dump(),
                         seconds["denoise"].get<double>() + seconds["decode"].get<double>()));
    Json entry = {{"output", path.string()}};
    entry.update(made.manifest);
    entry["memory"] = {{"offload", offload_name(memory.mode)}, {"needed", memory.needed}};
    if (!made.notes.empty()) entry["notes"] = made.notes;
    items.push_back(std::move(entry));
  });
  if (state.json) std::printf("%s\n", Json({{"items", items}}).dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  return kGood;
}

}  // namespace

std::function<int()> command_generate(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("prompt", state->prompt, "What the picture shows")->required();
  app.add_option("-o,--output", state->output, "The picture's file; with --n, NAME-1.png, NAME-2.png, ...")->required();
  app.add_option("--image", state->image, "A picture to start from (--strength)");
  app.add_option("--reference", state->reference, "A picture to edit, for FLUX.1 Kontext");
  app.add_option("--control-image", state->control,
                 "A picture that guides the result: for --control, and for FLUX.1 Canny, Depth and their adapters");
  app.add_option("--mask", state->mask, "What of --image is painted, for FLUX.1 Fill: white is painted, black is kept");
  app.add_flag("--json", state->json, "Print what was done as JSON");
  add_options(app, state->options, "", "Generating");
  add_options(app, state->model, "", "Model");
  app.get_option("--lora")->allow_extra_args(false);  // the next word may be the prompt
  add_options(app, state->memory, "", "Model");
  add_options(app, state->encode, "", "Files");
  add_options(app, state->limits, "", "Files");
  app.footer(
      "Nothing is downloaded: the model is a diffusers folder that you have, or one that is in Hugging Face's cache.\n"
      "Examples:\n  resflow generate \"a lighthouse at dusk\" -o lighthouse.png --model models/FLUX.1-dev --seed 7\n"
      "  resflow generate \"a lighthouse at dusk\" -o dusk.png --model black-forest-labs/FLUX.1-schnell --steps 4 --n 4\n"
      "  resflow generate \"oil painting\" -o oil.png --image photo.jpg --strength 0.7\n"
      "  resflow generate \"make it winter\" -o winter.png --model black-forest-labs/FLUX.1-Kontext-dev --reference photo.jpg --guidance 2.5\n"
      "  resflow generate \"\" -o large.png --control jasperai/Flux.1-dev-Controlnet-Upscaler --control-image small.jpg --control-enlarge 4 "
      "--control-scale 0.6\n"
      "  resflow generate \"a red boat\" -o filled.png --model black-forest-labs/FLUX.1-Fill-dev --image photo.jpg --mask mask.png --guidance 30\n"
      "Exit codes: 0 good, 2 wrong input or option, 70 bug, 130 cancelled.");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
