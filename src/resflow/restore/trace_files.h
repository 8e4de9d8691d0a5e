// What a search leaves on disk, and another choice among it.
//   run.json            Trace of every tile, the manifest, where source and result are ("resflow-trace-1")
//   run.pictures/       small pictures of all candidates, t0-c12.jpg; whole tiles of the finished ones, 16 bits, t0-c12.png
// The two may be moved together.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/restore/restorer.h"

namespace resflow::restore {

std::vector<std::string> trace_picture_names();  // none, small, all

class TraceWriter {
 public:
  // trace: the JSON file. pictures: one of trace_picture_names(). Pictures are gathered in a hidden folder beside; what an earlier search left
  // stays until write(). Throws UserError where nothing can be written.
  TraceWriter(std::filesystem::path trace, const std::string& pictures);
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  // Hand this to Restorer::restore; it refers to the writer.
  SearchWatch watch() const;
  // Puts the pictures in their place, then writes the JSON.
  void write(const Restored& restored, const std::filesystem::path& input, const std::filesystem::path& output) const;

 private:
  std::filesystem::path trace_, folder_, gathering_;
  bool small_ = false, whole_ = false;
};

// A trace read back.
struct TraceFile {
  std::filesystem::path path;
  Json content;

  // Throws UserError where it is missing or no trace.
  static TraceFile read(const std::filesystem::path& path);

  const Json& tiles() const { return content.at("tiles"); }
  // The picture of a candidate, whether or not it is there.
  std::filesystem::path small_picture(size_t tile, int64_t id) const;
  std::filesystem::path whole_picture(size_t tile, int64_t id) const;
  // Those that can be picked.
  std::vector<int64_t> finished(size_t tile) const;
};

// The result with other candidates: tile -> id; tiles that are not named keep their winner. Colours, depth, alpha and metadata as in the
// restoration; the manifest gains "picked". Reads the source, and for its alpha the result. Throws UserError: a tile or candidate
// that is not there, one that was dropped before it was finished, missing pictures, another source than then.
Restored pick_candidates(const TraceFile& trace, const std::map<size_t, int64_t>& picks);

// "12" or "3:12,0:7" -> tile: id. Without a tile the only one is meant. Throws UserError.
std::map<size_t, int64_t> parse_picks(const std::string& text, const TraceFile& trace);

}  // namespace resflow::restore
