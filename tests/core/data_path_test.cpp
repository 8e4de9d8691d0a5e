#include "resflow/core/data_path.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "resflow/core/error.h"

using namespace resflow;
namespace fs = std::filesystem;

TEST_CASE("a data file is taken from RESFLOW_DATA before any other place, and what is nowhere is named with the places tried") {
  const fs::path folder = fs::temp_directory_path() / ("resflow_data_" + std::to_string(getpid()));
  fs::create_directories(folder / "weights");
  std::ofstream(folder / "weights" / "only_here.txt") << "x";
  const char* before = std::getenv("RESFLOW_DATA");
  const std::string kept = before != nullptr ? before : "";
  setenv("RESFLOW_DATA", folder.c_str(), 1);
  CHECK(data_file("weights/only_here.txt") == folder / "weights" / "only_here.txt");
  CHECK_THROWS_WITH_AS(data_file("weights/nowhere.txt"), doctest::Contains((folder / "weights/nowhere.txt").c_str()), UserError);
  unsetenv("RESFLOW_DATA");
  CHECK_THROWS_WITH_AS(data_file("weights/only_here.txt"), doctest::Contains("RESFLOW_DATA"), UserError);
  CHECK(fs::exists(data_file("weights/niqe.safetensors")));  // beside the build folder that this program stands in
  if (before != nullptr) setenv("RESFLOW_DATA", kept.c_str(), 1);
  fs::remove_all(folder);
}
