// The reference y* of a whole picture by a network other than the model's own degradation remover: one of Real-ESRGAN's.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <functional>
#include <memory>
#include <string>

#include "resflow/core/json.h"
#include "resflow/core/progress.h"
#include "resflow/models/esrgan/network.h"

namespace resflow::restore {

class ReferenceNetwork {
 public:
  // file: as models::open_esrgan() takes it, or "real-esrgan", what `resflow pull real-esrgan` fetched. Throws UserError.
  ReferenceNetwork(const std::string& file, c10::Device device, c10::ScalarType dtype);

  struct Watch {
    Job job;                        // its stop is asked before each tile
    std::function<void()> on_tile;  // a tile is done
  };
  // pixels: [3, h, w], 0..1 -> [3, scale h, scale w], 0..1, CPU. tile: the side of what each tile adds, in pixels of what comes out; around it,
  // tiles share 2 kMargin pixels of the source with their neighbours, over most of which one goes over into the other: x4plus looks so far that a
  // narrow border would show. Throws UserError where what comes out is above 1 Gpx; Cancelled.
  Tensor enlarge(const Tensor& pixels, int64_t tile, const Watch& watch = {}) const;
  // How many tiles enlarge() makes of a picture.
  int64_t tiles(const Tensor& pixels, int64_t tile) const;

  int64_t scale() const { return network_->scale(); }
  const std::string& fingerprint() const { return fingerprint_; }
  // For the manifest: name (the file's), architecture, scale, fingerprint.
  Json told() const;

  static constexpr int64_t kMargin = 24;  // source pixels

 private:
  std::string name_, fingerprint_;
  std::unique_ptr<const models::EsrganNetwork> network_;
  c10::Device device_;
};

}  // namespace resflow::restore
