// What a job is asked for, from JSON or from form fields, and what the server allows of it.
#pragma once

#include <map>
#include <string>

#include "resflow/image/codec.h"
#include "resflow/restore/restorer.h"
#include "server/options.h"

namespace resflow::server {

constexpr int64_t kMostPriority = 100;

struct JobOptions {
  restore::RestoreOptions restore;
  search::SearchOptions search;
  image::EncodeOptions files;
  int64_t priority = 0;

  // {"restore": {...}, "search": {...}, "files": {...}, "priority": 0}; what is left out keeps its default. Throws UserError.
  static JobOptions from_json(const Json& json);
  Json to_json() const;  // without the priority

  // One field by its name, whichever group it is in, from a form's text. false: there is no such field. Throws UserError.
  bool set(const std::string& name, const std::string& text);
  std::vector<std::string> names() const;

  // Ranges, names and contradictions. Throws UserError.
  void check() const;
  // What of it depends on the picture, the server and the model, which takes tiles of `usual_tile`: the result's size, tiles and batches (made
  // smaller where none were chosen); `format` becomes one that can be written. Throws UserError, HttpError (413).
  void fit(const image::ImageInfo& source, const ServeOptions& limits, int64_t usual_tile);
};

}  // namespace resflow::server
