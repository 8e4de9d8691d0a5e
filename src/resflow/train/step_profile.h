// Where a training's time goes: a few steps under libtorch's profiler.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>

namespace resflow::train {

// Steps kFirst .. kFirst + kSteps - 1 of a sitting are recorded (the ones before warm up: kernels are chosen, files read), operators on the CPU and
// kernels on a GPU, as a Chrome trace: chrome://tracing, ui.perfetto.dev or tensorboard's profiler reads it. An empty path: nothing happens.
class StepProfile {
 public:
  StepProfile(std::filesystem::path path, c10::Device device) : path_(std::move(path)), device_(device) {}
  ~StepProfile();  // a run that ends within the recorded steps ends the recording
  StepProfile(const StepProfile&) = delete;
  StepProfile& operator=(const StepProfile&) = delete;

  // Before each step of the sitting. The file is there once the last recorded step is done. Throws UserError where it cannot be written.
  void next_step();
  // After the last step: says so where there were too few.
  void end();

  static constexpr int64_t kFirst = 21, kSteps = 4;

 private:
  void write();
  std::filesystem::path path_;
  c10::Device device_;
  int64_t step_ = 0;
  bool recording_ = false;
};

}  // namespace resflow::train
