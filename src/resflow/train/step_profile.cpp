#include "resflow/train/step_profile.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <set>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"

namespace resflow::train {
namespace profiler = torch::autograd::profiler;
namespace {

std::set<torch::profiler::impl::ActivityType> activities(c10::Device device) {
  std::set<torch::profiler::impl::ActivityType> out = {torch::profiler::impl::ActivityType::CPU};
  if (device.is_cuda()) out.insert(torch::profiler::impl::ActivityType::CUDA);
  return out;
}

}  // namespace

void StepProfile::next_step() {
  if (path_.empty()) return;
  ++step_;
  if (step_ != kFirst && step_ != kFirst + kSteps) return;
  if (!device_.is_cpu()) c10::impl::VirtualGuardImpl(device_.type()).synchronizeDevice(device_.index());
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO, /*report_input_shapes=*/true);
  if (step_ == kFirst) {
    profiler::prepareProfiler(config, activities(device_));
    profiler::enableProfiler(config, activities(device_));
    recording_ = true;
  } else {
    write();
  }
}

void StepProfile::end() {
  if (path_.empty() || step_ >= kFirst + kSteps) return;
  if (step_ + 1 == kFirst + kSteps) {
    next_step();
  } else {
    log_warn("no profile: it takes " + std::to_string(kFirst + kSteps - 1) + " steps in one sitting, the first ones warm up");
  }
}

StepProfile::~StepProfile() {
  if (recording_) profiler::disableProfiler();
}

void StepProfile::write() {
  const auto result = profiler::disableProfiler();
  recording_ = false;
  if (!path_.parent_path().empty()) create_folder(path_.parent_path());
  result->save(path_.string());
  if (!std::filesystem::exists(path_)) throw_user_error({.where = path_.string(), .problem = "the profile cannot be written"});
  log_info("profile of " + std::to_string(kSteps) + " steps: " + path_.string());
}

}  // namespace resflow::train
