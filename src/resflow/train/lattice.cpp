#include "resflow/train/lattice.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace resflow::train {
namespace {

Tensor blur(const Tensor& x, int64_t side) { return at::avg_pool2d(x, {side, side}, {1, 1}, {side / 2, side / 2}, false, false); }
Tensor fine(const Tensor& x) { return x - blur(x, 5); }

// The parts of a pattern: errors, detail by row and by column, steps by row and by column.
std::vector<Tensor> parts(const Tensor& pattern) {
  return pattern.split_with_sizes({kLatticeErrors, kLatticeCell, kLatticeCell, kLatticeCell, kLatticeCell}, -1);
}

// Between each line along `dim` and the next: the step, less the mean of the steps on both sides. The outermost lines have none: 0.
Tensor bends(const Tensor& x, int64_t dim) {
  const int64_t length = x.size(dim);
  const Tensor steps = x.narrow(dim, 1, length - 1) - x.narrow(dim, 0, length - 1);
  const Tensor inner = steps.narrow(dim, 1, length - 3) - 0.5 * (steps.narrow(dim, 2, length - 3) + steps.narrow(dim, 0, length - 3));
  return at::constant_pad_nd(inner, dim == 3 ? at::IntArrayRef{1, 2} : at::IntArrayRef{0, 0, 1, 2});
}

// How a size [B, 3, H, W] is spread over the lines of a cell along `dim`: the mean at each. -> [B, 16]
Tensor by_line(const Tensor& size, int64_t dim) {
  const Tensor cells = size.transpose(dim, 3).reshape({size.size(0), 3, -1, size.size(dim) / kLatticeCell, kLatticeCell});
  return cells.mean({1, 2, 3});
}
Tensor centred(const Tensor& lines) { return lines - lines.mean(1, true); }

}  // namespace

Tensor lattice_pattern(const Tensor& image, const Tensor& clean) {
  check_shape(image, "B 3 H W", "image");
  const int64_t count = image.size(0), rows = image.size(2) / kLatticeCell / 2, columns = image.size(3) / kLatticeCell / 2;
  const Tensor detail = fine(clean), shown = fine(image);
  const Tensor local = blur(detail.square(), 17).mean(1, true).sqrt() + 0.01;  // [B, 1, H, W]
  const Tensor error = ((shown - detail) / local).clamp(-4, 4).reshape({count, 3, rows, 2, kLatticeCell, columns, 2, kLatticeCell});
  // Sizes are taken against the clean picture's own at the same places: a photograph's detail is not even either.
  const auto size = [&](const Tensor& x) { return (x / local).abs().clamp_max(4); };
  const Tensor spread = size(shown) - size(detail);
  std::vector<Tensor> pattern = {error.mean({2, 5}).flatten(1), centred(by_line(spread, 2)), centred(by_line(spread, 3))};
  for (const int64_t dim : {2, 3}) {
    const Tensor steps = by_line(size(bends(image, dim)), dim), expected = by_line(size(bends(clean, dim)), dim);
    // As shares of their mean: a restored picture's steps are smaller than the clean one's everywhere.
    pattern.push_back(centred(steps / (steps.mean(1, true) + 0.01)) - centred(expected / (expected.mean(1, true) + 0.01)));
  }
  return at::cat(pattern, 1);
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
