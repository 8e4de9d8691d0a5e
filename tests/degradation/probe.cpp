// Lets tests in Python reach single steps: reads lines "STEP ARGUMENTS..." and answers each with "ok" or what went wrong.
// Pictures are raw float32 [3, H, W] files. `degradation_probe STEP ARGUMENTS...` runs just that.
//   jpeg IN H W QUALITY OUT | resize IN H W TO_H TO_W MODE FACTOR OUT | kernel KIND SIZE SIGMA_X SIGMA_Y ANGLE BETA CUTOFF OUT
//   filter IN H W KIND SIZE SIGMA_X SIGMA_Y ANGLE BETA CUTOFF OUT | degrade IN H W RECIPE SCALE SEED OUT | time H W SCALE RECIPE COUNT
#include <ATen/ops/rand.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "resflow/degradation/degradation.h"
#include "resflow/degradation/filter.h"
#include "resflow/degradation/jpeg.h"

namespace {

using namespace resflow;
using namespace resflow::degradation;

Planes read_planes(const std::string& path, int64_t height, int64_t width) {
  Planes planes(height, width);
  std::ifstream in(path, std::ios::binary);
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < height; ++y) in.read(reinterpret_cast<char*>(planes.row(c, y)), width * static_cast<int64_t>(sizeof(float)));
  if (!in) throw std::runtime_error("cannot read " + path);
  return planes;
}

void write_planes(const std::string& path, const Planes& planes) {
  std::ofstream out(path, std::ios::binary);
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < planes.height(); ++y)
      out.write(reinterpret_cast<const char*>(planes.row(c, y)), planes.width() * static_cast<int64_t>(sizeof(float)));
}

Tensor to_tensor(const Planes& planes) {
  Tensor image = at::empty({3, planes.height(), planes.width()});
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < planes.height(); ++y)
      std::copy_n(planes.row(c, y), planes.width(), image.data_ptr<float>() + (c * planes.height() + y) * planes.width());
  return image;
}

KernelChoice kernel_choice(const std::vector<std::string>& a, size_t at) {
  return {.kind = static_cast<KernelKind>(std::stoi(a[at])),
          .size = std::stoi(a[at + 1]),
          .sigma_x = std::stod(a[at + 2]),
          .sigma_y = std::stod(a[at + 3]),
          .angle = std::stod(a[at + 4]),
          .beta = std::stod(a[at + 5]),
          .cutoff = std::stod(a[at + 6])};
}

void run(const std::vector<std::string>& a) {
  const std::string& step = a.at(0);
  if (step == "kernel") {
    const Kernel kernel = make_kernel(kernel_choice(a, 1));
    std::ofstream(a.at(8), std::ios::binary)
        .write(reinterpret_cast<const char*>(kernel.weights.data()), static_cast<std::streamsize>(kernel.weights.size() * sizeof(float)));
    return;
  }
  if (step == "time") {
    const Tensor image = at::rand({3, std::stoll(a.at(1)), std::stoll(a.at(2))});
    const int count = std::stoi(a.at(5));
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) degrade(image, recipe(a.at(4)), std::stoi(a.at(3)), Stream(1, "time", static_cast<uint64_t>(i)));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.1f pictures/s\n", count / seconds.count());
    return;
  }
  Planes image = read_planes(a.at(1), std::stoll(a.at(2)), std::stoll(a.at(3)));
  if (step == "jpeg") {
    jpeg_round_trip(image, std::stoi(a.at(4)));
    write_planes(a.at(5), image);
  } else if (step == "resize") {
    write_planes(a.at(8),
                 resize(image, std::stoll(a.at(4)), std::stoll(a.at(5)), static_cast<Interpolation>(std::stoi(a.at(6))), std::stod(a.at(7))));
  } else if (step == "filter") {
    filter(image, make_kernel(kernel_choice(a, 4)));
    write_planes(a.at(11), image);
  } else if (step == "degrade") {
    const Tensor poor = degrade(to_tensor(image), recipe(a.at(4)), std::stoi(a.at(5)), Stream(std::stoull(a.at(6)), "probe"));
    std::ofstream(a.at(7), std::ios::binary).write(static_cast<const char*>(poor.const_data_ptr()), static_cast<std::streamsize>(poor.nbytes()));
  } else {
    throw std::runtime_error("unknown step " + step);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc > 1) {
      run({argv + 1, argv + argc});
      return 0;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    try {
      run({std::istream_iterator<std::string>(words), {}});
      std::cout << "ok" << std::endl;
    } catch (const std::exception& error) {
      std::cout << "error: " << std::string_view(error.what()).substr(0, std::string_view(error.what()).find('\n')) << std::endl;
    }
  }
  return 0;
}
