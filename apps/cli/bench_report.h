// What every bench reports beside its figures.
#pragma once

#include <filesystem>

#include "resflow/core/json.h"

namespace resflow::cli {

// Prints the figures with the machine (processor, cores, threads), version and commit before them, and writes the same to a file where `output` names
// one. -> the exit code
int finish_bench(const Json& measured, const std::filesystem::path& output);

}  // namespace resflow::cli
