#include "resflow/train/lattice.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace resflow::train {
namespace {

Tensor blur(const Tensor& x, int64_t side) { return at::avg_pool2d(x, {side, side}, {1, 1}, {side / 2, side / 2}, false, false); }
Tensor fine(const Tensor& x) { return x - blur(x, 5); }

// The parts of a pattern: errors, rows, columns.
std::vector<Tensor> parts(const Tensor& pattern) { return pattern.split_with_sizes({kLatticeErrors, kLatticeCell, kLatticeCell}, -1); }

}  // namespace

Tensor lattice_pattern(const Tensor& image, const Tensor& clean) {
  check_shape(image, "B 3 H W", "image");
  const int64_t count = image.size(0), rows = image.size(2) / kLatticeCell / 2, columns = image.size(3) / kLatticeCell / 2;
  const Tensor detail = fine(clean), shown = fine(image);
  const Tensor local = blur(detail.square(), 17).mean(1, true).sqrt() + 0.01;  // [B, 1, H, W]
  const Tensor error = ((shown - detail) / local).clamp(-4, 4).reshape({count, 3, rows, 2, kLatticeCell, columns, 2, kLatticeCell});
  const auto sizes = [&](const Tensor& x) {
    return (x / local).abs().clamp_max(4).reshape({count, 3, 2 * rows, kLatticeCell, 2 * columns, kLatticeCell});
  };
  // Against the clean picture's own sizes at the same places: a photograph's detail is not even either.
  const Tensor size = sizes(shown) - sizes(detail);
  const Tensor by_row = size.mean({1, 2, 4, 5}), by_column = size.mean({1, 2, 3, 4});  // [B, 16]
  return at::cat({error.mean({2, 5}).flatten(1), by_row - by_row.mean(1, true), by_column - by_column.mean(1, true)}, 1);
}

LatticeMemory::LatticeMemory() : mean(at::zeros({kLatticeSize}, at::kFloat)), batches(at::zeros({}, at::kFloat)) {}

Tensor LatticeMemory::loss(const Tensor& patterns) const {
  const auto now = parts(patterns), known = parts(mean.to(patterns.device()));
  Tensor sum = at::zeros({}, patterns.options());
  for (size_t i = 0; i < now.size(); ++i) {
    const Tensor along = (now[i] * known[i]).mean(1);  // [B]
    sum = sum + along.square().mean() / (known[i].square().mean() + 1e-12);
  }
  return sum;
}

double LatticeMemory::size() const {
  double sum = 0;
  for (const Tensor& part : parts(mean)) sum += part.square().mean().item<double>();
  return sum;
}

void LatticeMemory::absorb(const Tensor& pattern) {
  batches.add_(1);
  const double share = std::max(1 - kDecay, 1 / batches.item<double>());  // at first a plain mean
  mean.lerp_(pattern.detach().to(mean.device(), at::kFloat), share);
}

}  // namespace resflow::train
