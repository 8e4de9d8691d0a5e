// resflow bench-flux --device cuda --cases plain,fp8,train -o bench.json
#include "bench_flux.h"
#include "bench_report.h"
#include "command.h"

namespace resflow::cli {

std::function<int()> command_bench_flux(CLI::App& app) {
  struct State {
    FluxBench bench;
    std::string output;
  };
  auto state = std::make_shared<State>();
  add_options(app, state->bench);
  app.add_option("-o,--output", state->output, "Also write the JSON here");
  app.footer(
      "The weights are random and drawn in place: no file is needed. FLUX.1-dev's 12 B parameters take 24 GB in bf16.\n"
      "Examples:\n  resflow bench-flux --device cuda\n  resflow bench-flux --double-blocks 1 --single-blocks 2 --cases plain,train --size 256");
  return [state] { return finish_bench(bench_flux(state->bench), state->output); };
}

}  // namespace resflow::cli
