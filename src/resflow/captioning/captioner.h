// Who says what a picture shows, in words.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "resflow/captioning/options.h"
#include "resflow/core/tensor.h"

namespace resflow::captioning {

struct CaptionRequest {
  std::filesystem::path file;      // the picture's; its sidecar stands beside it
  std::function<Tensor()> pixels;  // [3, h, w], 0..1, sRGB; asked for only where the words depend on them
  std::stop_token stop;            // ends the waiting for an answer
};

class Captioner {
 public:
  virtual ~Captioner() = default;
  // One line of text, never empty. Throws UserError: no sidecar, no server, an answer without words; Cancelled. May be called from one thread at a
  // time.
  virtual std::string caption(const CaptionRequest& request) const = 0;
};

// Null for "none". Throws UserError: options out of range, an address that is none.
std::unique_ptr<Captioner> make_captioner(const CaptionOptions& options);

// photo.jpg -> photo.txt: where a caption stands beside its picture.
std::filesystem::path sidecar_of(const std::filesystem::path& picture);

// One line: blanks joined, quotes around the whole and a model's <think> part taken away; at most 2000 bytes.
std::string tidy_caption(const std::string& text);

}  // namespace resflow::captioning
