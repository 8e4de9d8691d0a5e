// The reference y* of a whole picture by a network other than the model's own degradation remover: one of Real-ESRGAN's, or
// SwinIR.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/core/progress.h"
#include "resflow/image/tiles.h"
#include "resflow/models/remover_network.h"

namespace resflow::restore {

class ReferenceNetwork {
 public:
  // file: as models::open_esrgan() takes it, or "real-esrgan", what `resflow pull real-esrgan` fetched. Throws UserError.
  ReferenceNetwork(const std::string& file, c10::Device device, c10::ScalarType dtype);

  struct Watch {
    Job job;                        // its stop is asked before each tile
    std::function<void()> on_tile;  // a tile is done
  };
  // What is wanted in the end.
  struct Target {
    int64_t height, width;  // of the whole picture, in pixels
    int64_t tile;           // the side of what each tile adds, in pixels of what the network makes
  };
  // pixels: [3, h, w], 0..1 -> [3, scale h, scale w], 0..1, CPU; of a network that wants pictures enlarged beforehand [3, scale height, scale width]
  // where the target is larger than the picture. Around what they add, tiles share 2 margin pixels of the source with their neighbours, over most
  // of which one goes over into the other. Throws UserError where what comes out is above 1 Gpx; Cancelled.
  Tensor enlarge(const Tensor& pixels, const Target& target, const Watch& watch = {}) const;
  // How many tiles enlarge() makes of a picture.
  int64_t tiles(const Tensor& pixels, const Target& target) const;

  int64_t scale() const { return network_->scale(); }
  const std::string& fingerprint() const { return fingerprint_; }
  // For the manifest: name (the file's), architecture, scale, fingerprint.
  Json told() const;

 private:
  struct Size {
    int64_t height, width;
  };
  Size seen(const Tensor& pixels, const Target& target) const;
  int64_t multiple() const;
  std::vector<image::Tile> tiles_of(Size size, int64_t tile) const;

  std::string name_, fingerprint_;
  std::unique_ptr<const models::RemoverNetwork> network_;
  c10::Device device_;
};

}  // namespace resflow::restore
