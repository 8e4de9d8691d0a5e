// Device and number type by name.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>

namespace resflow {

// auto | cpu | cuda | cuda:N. auto = cuda where there is one. Throws UserError where the device is not there.
c10::Device parse_device(const std::string& name);
// auto | f32 | bf16 | f16. auto = bf16 on CUDA and on CPUs with AVX512-BF16 or AMX, f32 elsewhere.
c10::ScalarType parse_dtype(const std::string& name, c10::Device device);
std::string dtype_name(c10::ScalarType dtype);

// Threads for one program on this machine: `wanted`, or the number of cores it may use. Called once, by main().
void set_threads(int wanted);

}  // namespace resflow
