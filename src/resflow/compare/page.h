// The page and the sheet of a comparison.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "resflow/core/json.h"

namespace resflow::compare {

// A picture under the name of each way, in the ways' order; "truth" last where there is one.
struct ShownPicture {
  std::string name;
  std::vector<std::pair<std::string, std::filesystem::path>> files;
};

// The middle of every picture, `cell` pixels a side: a row a picture. What is smaller is padded with white.
void write_sheet(const std::filesystem::path& file, const std::vector<ShownPicture>& pictures, int64_t cell);

// One file of HTML with the table of `report` and for each picture a slider between any two ways; pictures are JPEGs inside it, at most `window`
// pixels a side, of the middle.
void write_page(const std::filesystem::path& file, const Json& report, const std::vector<ShownPicture>& pictures, int64_t window);

}  // namespace resflow::compare
