// The noise that a restoration starts from, so that the Python tests can give it to another implementation.
//   restore_probe flux-noise SEED CHANNELS Y X HEIGHT WIDTH OUT.safetensors   in latent cells; OUT: "noise" [1, C, h, w]
#include <fmt/format.h>

#include <string>
#include <vector>

#include "resflow/core/error.h"
#include "resflow/core/rng.h"
#include "resflow/restore/flux_backbone.h"
#include "resflow/weights/safetensors.h"

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    const auto number = [&](size_t i) { return std::stoll(args.at(i)); };
    TORCH_CHECK(args.at(0) == "flux-noise", "restore_probe: no such command");
    const resflow::Stream field(static_cast<uint64_t>(number(1)), "restore.noise");
    const auto noise = resflow::restore::latent_noise(field, number(2), {.y = number(3), .x = number(4), .height = number(5), .width = number(6)});
    resflow::weights::write_safetensors(args.at(7), {{"noise", noise}});
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 70;
  }
}
