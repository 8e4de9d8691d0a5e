// The table of subcommands.
#include "command.h"

int main(int argc, char** argv) {
  using namespace resflow::cli;
  return run_program(argc, argv,
                     {
                         {"restore", "Restore photographs", command_restore},
                         {"serve", "Serve restoration over HTTP, with a web page", command_serve},
                         {"caption", "Say what pictures show, by a vision model behind an OpenAI-compatible address", command_caption},
                         {"generate", "Make pictures of texts with FLUX.1", command_generate},
                         {"doctor", "Say what a run of `generate` will need of memory, before it starts", command_doctor},
                         {"search-report", "Show what a search did, or take another of its candidates", command_search_report},
                         {"search-bench", "Measure what a search gains, and at what cost", command_search_bench},
                         {"degrade", "Make poor pictures of good ones", command_degrade},
                         {"eval", "Score restored pictures", command_eval},
                         {"compare", "Restore pictures in several ways, measure and show them beside each other", command_compare},
                         {"train", "Train the compact model, or a fusion for FLUX", command_train},
                         {"pack", "Pack a folder of pictures into a training shard", command_pack},
                         {"pack-latents", "Encode pictures and texts into a training shard for FLUX", command_pack_latents},
                         {"merge", "Join weight files of one model into one", command_merge},
                         {"convert", "Turn a model's file into another program's naming or number type", command_convert},
                         {"inspect", "Say what a weight file is, or how a picture was made", command_inspect_file},
                         {"pull", "Fetch public weight files", command_pull},
                         {"bench", "Measure speed on this machine", command_bench},
                         {"bench-flux", "Measure FLUX.1-dev on this machine, with random weights", command_bench_flux},
                         {"docs", "Print the manual page, shell completions and the list of options", command_docs},
                     });
}
