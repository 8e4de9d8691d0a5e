#include "bench_report.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "command.h"
#include "resflow/core/files.h"

namespace resflow::cli {
namespace {

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace

int finish_bench(const Json& measured, const std::filesystem::path& output) {
  Json report = {
      {"machine", {{"processor", processor()}, {"cores", ::sysconf(_SC_NPROCESSORS_ONLN)}, {"threads", at::get_num_threads()}}},
      {"version", RESFLOW_VERSION},
      {"commit", RESFLOW_COMMIT},
  };
  report.update(measured);
  if (!output.empty()) write_text_atomically(output, report.dump(2) + "\n");
  std::printf("%s\n", report.dump(2).c_str());
  return kGood;
}

}  // namespace resflow::cli
