// Many pictures: going on when one is bad, and where a run that was broken off stopped.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "resflow/captioning/options.h"
#include "resflow/core/json.h"
#include "resflow/restore/picture_list.h"
#include "resflow/restore/restorer.h"

namespace resflow::restore {

// All that is the same for every picture.
struct BatchOptions {
  RestoreOptions restore;
  search::SearchOptions search;
  image::EncodeOptions encode;
  image::DecodeLimits limits;
  captioning::CaptionOptions captions;  // of pictures for which restore.caption says nothing
  std::filesystem::path compare;        // source and result side by side, of the one picture; empty = none
  std::filesystem::path change_map;     // where the result departs from the source, of the one picture; empty = none
  std::filesystem::path mask;           // how strongly each place is restored: white as usual, black not at all; of the one picture
  std::filesystem::path trace;          // of the search: a file, or with several pictures a folder (stem.json); empty = none
  std::string trace_pictures = "all";   // one of trace_picture_names()
  bool skip_existing = false;           // leave out pictures whose result is there, whatever made it
  std::filesystem::path journal;        // journal.h: pictures that it knows as done are left out; empty = none
  std::filesystem::path log;            // a JSON line a picture; empty = none
};

struct BatchResult {
  // One entry a picture, in order: {input, output, seconds, ..., finished}, {input, error, finished}, or with "skipped": why it was left out.
  Json items = Json::array();
  int64_t failed = 0, skipped = 0;
};

// Restores all; a picture that fails is noted and the rest go on. While one is restored the next is read and the last one written, by a
// thread of their own. Throws UserError where the output's folder cannot be made or written to, or the journal or log cannot be kept;
// Cancelled when stopped: what was written stays.
// on_item is called after each picture with its entry, one at a time.
BatchResult run_batch(const Restorer& restorer, const std::vector<BatchItem>& items, const BatchOptions& options, const Job& job,
                      const std::function<void(const Json&)>& on_item);

// Writes a result with its manifest in the picture's text. -> notes of what the format could not hold. Throws as image::write_picture.
std::vector<std::string> write_restored(const std::filesystem::path& path, const Restored& restored, image::EncodeOptions encode);

// Automatic1111's text of a picture's making: "Steps: 4, Sampler: euler, Seed: 7, Size: 512x512, ...".
std::string parameters_text(const Json& manifest);

}  // namespace resflow::restore
