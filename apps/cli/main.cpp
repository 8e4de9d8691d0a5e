// The table of subcommands.
#include "command.h"

int main(int argc, char** argv) {
  using namespace resflow::cli;
  return run_program(argc, argv, {{"train", "Train the compact model", command_train}});
}
