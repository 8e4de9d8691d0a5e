// Blur kernels: six families of bivariate densities and the sinc low-pass, as BasicSR defines them.
#pragma once

#include <string_view>
#include <vector>

namespace resflow::degradation {

enum class KernelKind { isotropic, anisotropic, generalised_isotropic, generalised_anisotropic, plateau_isotropic, plateau_anisotropic, sinc, none };

// What a kernel is made from.
struct KernelChoice {
  KernelKind kind = KernelKind::none;
  int size = 1;                     // odd: 7..21
  double sigma_x = 1, sigma_y = 1;  // pixels, along the rotated axes; isotropic kinds use sigma_x
  double angle = 0;                 // radians
  double beta = 1;                  // exponent of the generalised and plateau kinds
  double cutoff = 3;                // sinc: radians per pixel, pi passes everything
};

// [size, size] weights, row by row; they sum to 1 and are point-symmetric (no kernel shifts the picture).
struct Kernel {
  int size = 1;
  std::vector<float> weights{1.f};
  // Where the kernel is the outer product of one line with itself, that line; else empty.
  std::vector<float> line;
};

Kernel make_kernel(const KernelChoice& choice);

}  // namespace resflow::degradation
