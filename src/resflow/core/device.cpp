#include "resflow/core/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <sched.h>

#include "resflow/core/error.h"

namespace resflow {
namespace {

bool cpu_has_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") > 0;
#else
  return false;
#endif
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

c10::Device parse_device(const std::string& name) {
  if (name == "auto") return at::hasCUDA() ? c10::Device(c10::kCUDA, 0) : c10::Device(c10::kCPU);
  if (name == "cpu") return {c10::kCPU};
  if (name.rfind("cuda", 0) == 0) {
    if (!at::hasCUDA())
      throw_user_error({.where = "device",
                        .problem = "no CUDA device",
                        .wanted = "one of auto, cpu",
                        .got = name,
                        .hint = "This build's libtorch has no CUDA, or no driver was found"});
    try {
      const c10::Device device(name == "cuda" ? "cuda:0" : name);  // allocators and guards ask for a number
      if (device.index() >= static_cast<int>(at::detail::getCUDAHooks().deviceCount()))
        throw_user_error({.where = "device", .problem = "no such CUDA device", .got = name});
      return device;
    } catch (const c10::Error&) {
      throw_user_error({.where = "device", .problem = "bad device", .wanted = "cuda or cuda:N", .got = name});
    }
  }
  throw_user_error({.where = "device", .problem = "unknown device", .wanted = "one of auto, cpu, cuda, cuda:N", .got = name});
}

c10::ScalarType parse_dtype(const std::string& name, c10::Device device) {
  if (name == "f32") return c10::kFloat;
  if (name == "bf16") return c10::kBFloat16;
  if (name == "f16") return c10::kHalf;
  if (name == "auto") return device.is_cuda() || cpu_has_bf16() ? c10::kBFloat16 : c10::kFloat;
  throw_user_error({.where = "dtype", .problem = "unknown number type", .wanted = "one of auto, f32, bf16, f16", .got = name});
}

std::string dtype_name(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::kFloat:
      return "f32";
    case c10::kBFloat16:
      return "bf16";
    case c10::kHalf:
      return "f16";
    case c10::kFloat8_e4m3fn:
      return "f8_e4m3";
    case c10::kFloat8_e5m2:
      return "f8_e5m2";
    default:
      return c10::toString(dtype);
  }
}

void set_threads(int wanted) { at::set_num_threads(wanted > 0 ? wanted : usable_cores()); }

}  // namespace resflow
