// Many pictures: which files, where each result goes, and going on when one is bad.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/restore/restorer.h"

namespace resflow::restore {

struct BatchItem {
  std::filesystem::path input, output;
};

// Every picture of `inputs`: files, folders (their pictures, not those of subfolders, sorted by name) and globs (*, ?, in any part of
// the path), each once. Files that are not there stay in the list. Throws UserError: a folder without pictures, a glob without files.
std::vector<std::filesystem::path> list_pictures(const std::vector<std::string>& inputs);

// inputs: as above.
// output: a file (one input only) or a folder, which is created. In a folder each result keeps its input's stem; its extension is
// `format` ("auto": the input's own, png where that cannot be written). Throws UserError: no input, two results of one name, a result
// that would replace an input or a format that
// cannot be written.
std::vector<BatchItem> plan_batch(const std::vector<std::string>& inputs, const std::filesystem::path& output, const std::string& format);

// All that is the same for every picture.
struct BatchOptions {
  RestoreOptions restore;
  search::SearchOptions search;
  image::EncodeOptions encode;
  image::DecodeLimits limits;
  std::filesystem::path compare;       // source and result side by side, of the one picture; empty = none
  std::filesystem::path trace;         // of the search: a file, or with several pictures a folder (stem.json); empty = none
  std::string trace_pictures = "all";  // one of trace_picture_names()
};

struct BatchResult {
  Json items = Json::array();  // one entry a picture: {input, output, seconds, ...} or {input, error}
  int64_t failed = 0;
};

// Restores all; a picture that fails is noted and the rest go on. Throws UserError where the output's folder cannot be made or written
// to, Cancelled when stopped: what was written stays.
// on_item is called after each picture with its entry.
BatchResult run_batch(const Restorer& restorer, const std::vector<BatchItem>& items, const BatchOptions& options, const Job& job,
                      const std::function<void(const Json&)>& on_item);

// Writes a result with its manifest in the picture's text. -> notes of what the format could not hold. Throws as image::write_picture.
std::vector<std::string> write_restored(const std::filesystem::path& path, const Restored& restored, image::EncodeOptions encode);

// Automatic1111's text of a picture's making: "Steps: 4, Sampler: euler, Seed: 7, Size: 512x512, ...".
std::string parameters_text(const Json& manifest);

}  // namespace resflow::restore
