// One picture, end to end: size, tiles, remover, flow, colour, blend.
#pragma once

#include <memory>

#include "resflow/core/json.h"
#include "resflow/core/progress.h"
#include "resflow/image/codec.h"
#include "resflow/models/compact/compact.h"
#include "resflow/restore/options.h"

namespace resflow::restore {

struct Size {
  int64_t width = 0, height = 0;
};
// What can be told before any picture is read: ranges, names, sizes that contradict each other, tiles. Throws UserError.
void check_options(const RestoreOptions& options);

// The result's size. Throws UserError where it is empty or above 1 Gpx.
Size target_size(const RestoreOptions& options, Size source);

struct Restored {
  image::Picture picture;  // metadata, depth and grey flag of the source
  Json manifest;           // program, model, options as used, sizes, seconds, model evaluations (NFE)
};

// Holds a loaded model. restore() may be called again and again; not from two threads at once.
class Restorer {
 public:
  // Throws UserError where the model is missing or damaged, or the device is not there.
  explicit Restorer(const ModelOptions& options);

  // Memory: 12 bytes a pixel of the source and of the result, and what one tile needs. Reports stage "restore", one unit a step of
  // a tile. Throws UserError (options), Cancelled.
  Restored restore(const image::Picture& source, const RestoreOptions& options, const Job& job = {}) const;

 private:
  struct Plan;
  Tensor restore_pixels(const Tensor& pixels, const Plan& plan, const Job& job) const;  // [3, h, w] -> [3, H, W]
  Tensor restore_tile(const Tensor& enlarged, int64_t y, int64_t x, const Plan& plan, const Job& job) const;

  ModelOptions options_;
  c10::Device device_;
  c10::ScalarType dtype_;
  std::unique_ptr<models::CompactModel> model_;
};

// The path of a model named on the command line: "compact" = the shipped weights, anything else is a file.
std::filesystem::path model_path(const std::string& name);

}  // namespace resflow::restore
