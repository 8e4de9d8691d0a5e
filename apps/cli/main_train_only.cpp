// The program with `train` alone (RESFLOW_TRAIN_ONLY): libtorch and header-only libraries, for a bare GPU machine.
#include "command.h"

int main(int argc, char** argv) { return resflow::cli::run_program(argc, argv, {{"train", "Train the compact model", resflow::cli::command_train}}); }
