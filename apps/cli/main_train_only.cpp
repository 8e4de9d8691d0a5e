// The program that trains and measures (RESFLOW_TRAIN_ONLY): libtorch and header-only libraries, for a bare GPU machine.
#include "command.h"

int main(int argc, char** argv) {
  using namespace resflow::cli;
  return run_program(argc, argv,
                     {{"train", "Train the compact model, or a fusion for FLUX", command_train},
                      {"bench-flux", "Measure FLUX.1-dev on this machine, with random weights", command_bench_flux}});
}
