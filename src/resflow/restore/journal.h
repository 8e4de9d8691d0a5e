// What a batch has done, kept in an SQLite file beside its results: a run that was ended by a crash or kill -9 goes on where it was, and
// restores no picture twice.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/restore/picture_list.h"

namespace resflow::restore {

// The journal's place in a folder of results.
std::filesystem::path journal_path(const std::filesystem::path& output);

// May be used from several threads.
class Journal {
 public:
  // Opens or creates it. settings: everything that decides what a result looks like; what was done with others counts as not done. While it
  // is open no other run may have it. Throws UserError: another run has it, not a journal, of a newer program, unwritable.
  Journal(const std::filesystem::path& file, const Json& settings);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // What was noted about a picture that is done: restored with these settings from the input as it is now, and the result is there.
  std::optional<Json> done(const BatchItem& item);
  // A picture's way: started, about to be written (its entry stands; the file may or may not have come to its place), done or failed.
  void started(const BatchItem& item);
  void writing(const BatchItem& item, const Json& entry);
  void finished(const BatchItem& item, const Json& entry);  // an entry with "error" is a failure, which the next run tries again

 private:
  struct Store;
  std::unique_ptr<Store> store_;
};

}  // namespace resflow::restore
