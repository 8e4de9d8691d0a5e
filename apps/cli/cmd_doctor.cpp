// resflow doctor --model X --size WxH: what `resflow generate` will need of memory.
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "resflow/core/device.h"
#include "resflow/core/memory_use.h"
#include "resflow/generate/memory.h"
#include "resflow/models/flux/config.h"

namespace resflow::cli {
namespace {

struct State {
  std::string size = "1024x1024", reference;
  bool image = false, json = false;
  int64_t max_sequence_length = 512;
  generate::ModelOptions model;
  generate::MemoryOptions memory;
};

generate::Size size_of(const std::string& text, const std::string& where) {
  generate::Size out;
  int used = 0;
  const bool read = std::sscanf(text.c_str(), "%ldx%ld%n", &out.width, &out.height, &used) == 2 && static_cast<size_t>(used) == text.size();
  const auto good = [](int64_t side) { return side >= 16 && side <= 16384 && side % 16 == 0; };
  if (!read || !good(out.width) || !good(out.height))
    throw_user_error({.where = where, .problem = "bad size", .wanted = "WIDTHxHEIGHT, multiples of 16, as in 1024x768", .got = text});
  return out;
}

// The device need not be there: what a run needs elsewhere can be asked too.
c10::Device device_of(const std::string& name) { return name.starts_with("cuda") ? c10::Device(name) : parse_device(name); }

void print_parts(const generate::Needs& needs) {
  std::printf("parts\n");
  for (const auto& part : needs.parts) {
    std::string types;
    for (const auto& [type, count] : part.types) types += fmt::format("{}{}", types.empty() ? "" : ", ", type);
    std::printf("  %-16s %9s  %8.1f M parameters, %s\n", part.name.c_str(), bytes_text(part.bytes).c_str(),
                static_cast<double>(part.parameters) / 1e6, types.c_str());
  }
}

void print_mode(const generate::Needs& needs, const generate::ModeNeed& mode, bool chosen) {
  const bool gpu = !needs.device.is_cpu();
  const auto line = [&](const std::string& name, const generate::Bytes& bytes) {
    std::printf("  %-16s", name.c_str());
    if (gpu) std::printf(" %9s on the GPU,", bytes_text(bytes.device).c_str());
    std::printf(" %9s anonymous, %9s mapped\n", bytes_text(bytes.anonymous).c_str(), bytes_text(bytes.mapped).c_str());
  };
  std::printf("--offload %s%s\n", offload_name(mode.mode).c_str(), chosen ? ", which is picked" : "");
  for (const auto& [name, bytes] : mode.stages) line(name, bytes);
  line("the most", mode.peak());
}

int run(const State& state) {
  check_fields(state.model);
  check_fields(state.memory);
  const generate::Work work{.size = size_of(state.size, "size"),
                            .reference = state.reference.empty() ? generate::Size{} : size_of(state.reference, "reference"),
                            .image = state.image,
                            .max_sequence_length = state.max_sequence_length};
  const auto device = device_of(state.model.device);
  const auto needs = generate::needs_of(state.model, work, device);
  const auto decision = generate::decide(needs, state.memory, generate::free_memory(device));
  const bool fits = decision.fits();
  if (state.json) {
    Json report = needs_json(needs, decision);
    report["model"] = state.model.model;
    report["size"] = state.size;
    std::printf("%s\n", report.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return fits ? kGood : kSomeFailed;
  }
  std::printf("%s, %s, %s on %s\n", state.model.model.c_str(), state.size.c_str(), dtype_name(needs.dtype).c_str(), device.str().c_str());
  print_parts(needs);
  for (const auto& mode : needs.modes) print_mode(needs, mode, mode.mode == decision.mode);
  const std::string what = device.is_cpu() ? "anonymous memory" : "the GPU's memory";
  if (decision.limit < 0) {
    std::printf("needs %s of %s; how much there is of it is not known here (--max-vram says it)\n", bytes_text(decision.needed).c_str(),
                what.c_str());
  } else {
    std::printf("%s: needs %s of %s, %s are there\n", fits ? "fits" : "does not fit", bytes_text(decision.needed).c_str(), what.c_str(),
                bytes_text(decision.limit).c_str());
  }
  return fits ? kGood : kSomeFailed;
}

}  // namespace

std::function<int()> command_doctor(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("--size", state->size, "The picture's WIDTHxHEIGHT")->capture_default_str();
  app.add_option("--reference", state->reference, "WIDTHxHEIGHT of a picture to edit (Kontext); empty: none");
  app.add_flag("--image", state->image, "It starts from a picture");
  app.add_option("--max-sequence-length", state->max_sequence_length, "Tokens of the text")->capture_default_str()->check(CLI::Range(1, 512));
  app.add_flag("--json", state->json, "Print it as JSON, in bytes");
  add_options(app, state->model, "", "Model");
  add_options(app, state->memory, "", "Model");
  app.footer(
      "Nothing is loaded: the numbers follow from the files' headers and the network's shapes.\n"
      "Examples:\n  resflow doctor --model models/FLUX.1-dev --size 1024x1024\n"
      "  resflow doctor --model models/FLUX.1-dev --transformer flux1-dev-Q4_0.gguf --device cuda --max-vram 12G   # for another machine\n"
      "Exit codes: 0 it fits, 1 it does not, 2 wrong input or option, 70 bug.");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
