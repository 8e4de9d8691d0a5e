#include "resflow/core/files.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>
#include <vector>

#include "resflow/core/error.h"

using namespace resflow;
namespace fs = std::filesystem;

namespace {

class Folder {
 public:
  Folder() : path(fs::temp_directory_path() / ("resflow_files_" + std::to_string(getpid()))) { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(path)) out.push_back(entry.path().filename());
    return out;
  }
  const fs::path path;
};

}  // namespace

TEST_CASE("text written and read back is the same, empty, binary or over an older file, and nothing else is left") {
  const Folder folder;
  const fs::path file = folder.path / "notes.json";
  for (const std::string& text : {std::string("old and much longer"), std::string("a\0b\r\n", 5), std::string()}) {
    write_text_atomically(file, text);
    CHECK(read_text(file) == text);
  }
  CHECK(folder.names() == std::vector<std::string>{"notes.json"});
}

TEST_CASE("a writer that fails half way leaves the target as it was and no temporary file") {
  const Folder folder;
  const fs::path file = folder.path / "picture.png";
  const auto failing = [&](const fs::path& temporary) {
    CHECK(temporary.parent_path() == folder.path);
    CHECK(temporary.extension() == ".png");  // encoders choose the format by it
    std::ofstream(temporary) << "half";
    throw std::runtime_error("disk on fire");
  };
  CHECK_THROWS_WITH(write_atomically(file, failing), "disk on fire");
  CHECK(folder.names().empty());
  write_text_atomically(file, "whole");
  CHECK_THROWS_WITH(write_atomically(file, failing), "disk on fire");
  CHECK(read_text(file) == "whole");
  CHECK(folder.names() == std::vector<std::string>{"picture.png"});
}

TEST_CASE("a target that cannot be written is the user's to mend, and nothing is left beside it") {
  const Folder folder;
  CHECK_THROWS_WITH_AS(write_text_atomically(folder.path / "nowhere" / "a.txt", "x"), doctest::Contains("nowhere/a.txt"), UserError);
  fs::create_directories(folder.path / "taken" / "inside");
  CHECK_THROWS_WITH_AS(write_text_atomically(folder.path / "taken", "x"), doctest::Contains("cannot be written"), UserError);
  CHECK(folder.names() == std::vector<std::string>{"taken"});
  // A writer that wrote nothing at all must not pass for a success.
  CHECK_THROWS_AS(write_atomically(folder.path / "b.txt", [](const fs::path&) {}), UserError);
  CHECK(folder.names() == std::vector<std::string>{"taken"});
}

TEST_CASE("a file that cannot be read is named with the reason") {
  const Folder folder;
  CHECK_THROWS_WITH_AS(read_text(folder.path / "none.txt"), doctest::Contains("No such file"), UserError);
  CHECK_THROWS_WITH_AS(read_text(folder.path), doctest::Contains("is a folder"), UserError);
}
