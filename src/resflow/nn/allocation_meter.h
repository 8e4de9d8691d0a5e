// What a computation allocates, without computing: a network whose weights are on libtorch's meta device goes through the same code, and every
// allocation is counted instead of made.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace resflow::nn {

// While one lives, tensors on the meta device are counted; at most one at a time in a process. They stand for tensors on `device`, where kernels take
// temporaries of their own (nn/quantised_weight.cpp). libtorch has no meta kernels of attention, norms and convolutions in C++: ours allocate what
// those on `device` do. Under c10::InferenceMode alone: nothing is kept for a gradient.
class AllocationMeter {
 public:
  explicit AllocationMeter(c10::DeviceType device);
  ~AllocationMeter();
  AllocationMeter(const AllocationMeter&) = delete;
  AllocationMeter& operator=(const AllocationMeter&) = delete;

  int64_t live() const;  // bytes
  int64_t peak() const;  // since restart()
  void restart();

  // Of the meter that lives; kCPU without one.
  static c10::DeviceType stands_for();
};

}  // namespace resflow::nn
