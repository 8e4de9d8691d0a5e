// Layers that take turns on a device: each one's weights come when it is about to run, the next one's are on their way meanwhile, and they are gone
// again when it has run. A model then needs the device memory of two layers.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <utility>
#include <vector>

#include "resflow/nn/module.h"

namespace resflow::nn {

class LayerStream {
 public:
  // Of layers that are run in this order, again and again, their weights bound on the CPU (a file's mapping will do). `layers` must outlive it, and
  // must not be bound or moved while it lives. On a CPU the weights stay where they are, and the next layer's pages are asked for ahead.
  LayerStream(std::vector<Module*> layers, c10::Device device) : LayerStream(std::move(layers), device, !device.is_cpu()) {}
  // copies: whether weights are copied to the device; on a CPU, which has no need of it, for tests.
  LayerStream(std::vector<Module*> layers, c10::Device device, bool copies);
  // The layers' weights are on the CPU again.
  ~LayerStream();
  LayerStream(const LayerStream&) = delete;
  LayerStream& operator=(const LayerStream&) = delete;

  // From here to leave(index) the layer computes on the device. One layer at a time, from one thread.
  void enter(size_t index);
  void leave(size_t index);

  // Bytes on the device, and as many pinned ones on the CPU: two of the largest layer. 0 on a CPU.
  int64_t buffer_bytes() const;

 private:
  struct Moving;
  std::vector<Module*> layers_;
  std::unique_ptr<Moving> moving_;  // null: they stay where they are
};

// While it lives, layer `index` of the stream is on the device; without a stream it does nothing.
class LayerTurn {
 public:
  LayerTurn(LayerStream* stream, size_t index) : stream_(stream), index_(index) {
    if (stream_ != nullptr) stream_->enter(index_);
  }
  ~LayerTurn() {
    if (stream_ != nullptr) stream_->leave(index_);
  }
  LayerTurn(const LayerTurn&) = delete;
  LayerTurn& operator=(const LayerTurn&) = delete;

 private:
  LayerStream* stream_;
  size_t index_;
};

// Bytes that two of the largest of these layers take, as LayerStream lays them out. Their weights may be on any device.
int64_t layer_buffer_bytes(const std::vector<Module*>& layers);

}  // namespace resflow::nn
