#include "resflow/nn/layer_stream.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <optional>
#include <thread>

#include "resflow/core/io_thread.h"
#include "resflow/core/read_ahead.h"

namespace resflow::nn {
namespace {

constexpr int64_t kAlignment = 256;  // of a tensor in the buffers: what kernels for GPUs ask for
constexpr size_t kBuffers = 2;

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// A place in a module that holds a weight, and the weight while it is on the CPU.
struct Held {
  Tensor* place;
  Tensor home;
};

// Every tensor that a layer computes with: its parameters, quantised ones with their scales.
std::vector<Held> held_by(const Module& layer) {
  std::vector<Held> out;
  const auto add = [&](Tensor& place) {
    if (place.defined()) out.push_back({&place, place.contiguous()});
  };
  for (const auto& parameter : layer.named_parameters()) {
    add(*parameter.slot);
    if (parameter.quantised == nullptr) continue;
    add(parameter.quantised->stored);
    add(parameter.quantised->scale);
  }
  return out;
}

int64_t bytes_of(const std::vector<Held>& held) {
  int64_t out = 0;
  for (const auto& tensor : held) out += aligned(static_cast<int64_t>(tensor.home.nbytes()));
  return out;
}

// The bytes of `buffer` from `at` on, as a tensor like this one.
Tensor window(const Tensor& buffer, int64_t at, const Tensor& like) {
  return buffer.narrow(0, at, static_cast<int64_t>(like.nbytes())).view(like.scalar_type()).view(like.sizes());
}

// One thread copies slower than a GPU's bus takes it.
void copy_bytes(void* to, const void* from, size_t bytes) {
  constexpr size_t kPart = size_t{8} << 20, kMost = 8;
  const size_t parts = std::clamp<size_t>(std::min<size_t>(bytes / kPart, std::thread::hardware_concurrency() / 2), 1, kMost);
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < parts; ++i) {
    const size_t begin = bytes * i / parts, end = bytes * (i + 1) / parts;
    const auto copy = [=] { std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin, end - begin); };
    if (i + 1 == parts) {
      copy();
    } else {
      threads.emplace_back(copy);
    }
  }
}

// What keeps a GPU's two streams apart: the one that copies must not overwrite a layer that is still computing, and the computing must not begin
// before its layer is there. On a CPU everything has happened when it returns.
struct Timeline {
  explicit Timeline(c10::Device device) : guard(device.type()), copies(guard.getStreamFromGlobalPool(device)) {}
  c10::impl::VirtualGuardImpl guard;
  c10::Stream copies;
};

}  // namespace

// Two buffers in turn. Each has pinned memory, into which one thread copies a layer, and memory on the device, into which a stream of its own copies
// that.
struct LayerStream::Moving {
  struct Buffer {
    Tensor pinned, device;
    std::optional<c10::Event> arrived, free;  // on a GPU
    std::future<void> coming;
    size_t layer = 0;
  };

  Moving(const std::vector<Module*>& layers, c10::Device wanted) : device(wanted) {
    const bool gpu = !device.is_cpu();
    if (gpu) timeline.emplace(device);
    for (const auto* layer : layers) held.push_back(held_by(*layer));
    int64_t largest = kAlignment;
    for (const auto& layer : held) largest = std::max(largest, bytes_of(layer));
    const auto options = at::TensorOptions().dtype(at::kByte);
    for (auto& buffer : buffers) {
      buffer.pinned = at::empty({largest}, gpu ? options.pinned_memory(true) : options);
      buffer.device = at::empty({largest}, options.device(device));
      if (!gpu) continue;
      buffer.arrived.emplace(device.type());
      buffer.free.emplace(device.type());
    }
  }

  ~Moving() {
    for (auto& buffer : buffers) {
      if (buffer.coming.valid()) buffer.coming.wait();
      if (buffer.arrived) buffer.arrived->synchronize();
      if (buffer.free) buffer.free->synchronize();
    }
  }

  // On the worker's thread.
  void bring(Buffer& buffer, size_t layer) const {
    const c10::InferenceMode inference;
    if (buffer.arrived) buffer.arrived->synchronize();  // its last copy has left the pinned memory
    int64_t at = 0;
    for (const auto& tensor : held[layer]) {
      copy_bytes(buffer.pinned.mutable_data_ptr<uint8_t>() + at, tensor.home.const_data_ptr(), tensor.home.nbytes());
      at += aligned(static_cast<int64_t>(tensor.home.nbytes()));
    }
    std::optional<c10::StreamGuard> on;
    if (timeline) {
      on.emplace(timeline->copies);
      buffer.free->block(timeline->copies);
    }
    buffer.device.narrow(0, 0, at).copy_(buffer.pinned.narrow(0, 0, at), /*non_blocking=*/true);
    if (timeline) buffer.arrived->record(timeline->copies);
  }

  void ask_for(size_t layer, size_t at_turn) {
    Buffer& buffer = buffers[at_turn % kBuffers];
    buffer.layer = layer;
    buffer.coming = worker.run([this, &buffer, layer] { bring(buffer, layer); });
  }

  c10::Stream computing() const { return timeline->guard.getStream(device); }

  c10::Device device;
  std::optional<Timeline> timeline;  // on a GPU
  std::vector<std::vector<Held>> held;
  std::array<Buffer, kBuffers> buffers;
  size_t turn = 0;  // how many layers have run
  IoThread worker;  // last: it ends before what it uses
};

LayerStream::LayerStream(std::vector<Module*> layers, c10::Device device, bool copies) : layers_(std::move(layers)) {
  if (copies) moving_ = std::make_unique<Moving>(layers_, device);
}

LayerStream::~LayerStream() = default;

void LayerStream::enter(size_t index) {
  const size_t next = (index + 1) % layers_.size();
  if (!moving_) {
    for (const auto& tensor : held_by(*layers_[next])) read_ahead(tensor.home.const_data_ptr(), tensor.home.nbytes());
    return;
  }
  auto& moving = *moving_;
  auto& buffer = moving.buffers[moving.turn % kBuffers];
  if (!buffer.coming.valid() || buffer.layer != index) {  // the first of all, or the last round was broken off
    if (buffer.coming.valid()) buffer.coming.get();
    moving.ask_for(index, moving.turn);
  }
  moving.ask_for(next, moving.turn + 1);
  buffer.coming.get();
  if (buffer.arrived) buffer.arrived->block(moving.computing());
  int64_t at = 0;
  for (const auto& tensor : moving.held[index]) {
    *tensor.place = window(buffer.device, at, tensor.home);
    at += aligned(static_cast<int64_t>(tensor.home.nbytes()));
  }
}

void LayerStream::leave(size_t index) {
  if (!moving_) return;
  auto& moving = *moving_;
  for (const auto& tensor : moving.held[index]) *tensor.place = tensor.home;
  auto& buffer = moving.buffers[moving.turn % kBuffers];
  if (buffer.free) buffer.free->record(moving.computing());
  ++moving.turn;
}

int64_t LayerStream::buffer_bytes() const { return moving_ ? static_cast<int64_t>(kBuffers) * moving_->buffers[0].device.numel() : 0; }

int64_t layer_buffer_bytes(const std::vector<Module*>& layers) {
  int64_t largest = kAlignment;
  for (const auto* layer : layers) {
    int64_t bytes = 0;
    for (const auto& parameter : layer->named_parameters())
      for (const Tensor* tensor : {parameter.slot, parameter.quantised != nullptr ? &parameter.quantised->stored : nullptr,
                                   parameter.quantised != nullptr ? &parameter.quantised->scale : nullptr})
        if (tensor != nullptr && tensor->defined()) bytes += aligned(static_cast<int64_t>(tensor->nbytes()));
    largest = std::max(largest, bytes);
  }
  return static_cast<int64_t>(kBuffers) * largest;
}

}  // namespace resflow::nn
