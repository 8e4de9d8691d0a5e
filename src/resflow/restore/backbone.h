// The seam between restoring and the families of models. A restorer cuts the picture, makes the reference, searches and puts together; a backbone
// says, for one tile, what is moved from noise to an image and how.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/core/progress.h"
#include "resflow/core/rng.h"
#include "resflow/core/tensor.h"
#include "resflow/flow/velocity.h"
#include "resflow/image/tiles.h"
#include "resflow/restore/options.h"
#include "resflow/search/coordinates.h"

namespace resflow::restore {

// What options leave open.
struct Defaults {
  int64_t steps = 1, search_steps = 1;
  double sigma_s = 1, search_sigma_s = 1;
  int64_t tile = 512;
};

// The same for all tiles of a picture.
struct PictureSettings {
  RestoreOptions options;         // with what was left open filled in
  int64_t batch = 1;              // most samples in one model call
  int64_t height = 0, width = 0;  // of the largest tile
};

struct TileInput {
  const image::Tile& tile;  // in the padded result
  const Tensor& enlarged;   // the source's part, [1, 3, h, w], 0..1, float, on the CPU
  const Tensor& reference;  // y*, [1, 3, h, w], float, on the device
  const Tensor& features;   // the compact remover's, where reads_features()
};

// How one tile is sampled. Latents are what z is: [N, ...], of any shape that the functions agree on. The functions may be called as long as the
// backbone is there and no other tile was asked for.
struct TileFlow {
  std::vector<double> sigmas;                        // falling, to 0
  flow::VelocityFn velocity;                         // of N samples
  search::Coordinates coordinates;                   // where samples start, and how they are changed
  std::function<Tensor(const Stream& field)> noise;  // the tile's window of a noise field: unit normals, [1, ...], on the device
  std::function<Tensor(const Tensor& x0)> decode;    // -> [N, 3, h, w], about 0..1
  std::function<Tensor(const Tensor& x0)> preview;   // the same, where looking at it must be cheap
};

class Backbone {
 public:
  virtual ~Backbone() = default;

  virtual int64_t multiple() const = 0;  // of tiles' sides, in pixels
  virtual Defaults defaults() const = 0;
  virtual bool reads_features() const = 0;
  virtual std::string name() const = 0;  // for people
  virtual const std::string& fingerprint() const = 0;
  // Throws UserError where an option is set that this family does not have.
  virtual void check(const RestoreOptions& options) const = 0;
  // For the manifest's "model", beside name, fingerprint and numbers.
  virtual Json told() const = 0;

  // The levels for a tile of that size, with strength above 0.
  virtual std::vector<double> sigmas(const PictureSettings& settings, int64_t height, int64_t width) const = 0;
  // Before the tiles of a picture: what they share. -> what a person should know. Throws UserError, Cancelled.
  virtual std::vector<std::string> begin(const PictureSettings& settings, const Job& job) = 0;
  // Strength is above 0.
  virtual TileFlow tile(const TileInput& input, const PictureSettings& settings) = 0;
};

}  // namespace resflow::restore
