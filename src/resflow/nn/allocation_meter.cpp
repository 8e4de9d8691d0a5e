#include "resflow/nn/allocation_meter.h"

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <torch/library.h>

#include <atomic>
#include <optional>

#include "resflow/core/tensor.h"

namespace resflow::nn {
namespace {

std::atomic<int64_t> live_bytes{0}, peak_bytes{0};
std::atomic<bool> metering{false};
std::atomic<c10::DeviceType> place{c10::kCPU};
c10::Allocator* usual = nullptr;

void grow(int64_t bytes) {
  const int64_t now = live_bytes += bytes;
  int64_t peak = peak_bytes;
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
}

// A tensor may outlive the meter: what its bytes are taken off is the process's.
class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    grow(static_cast<int64_t>(bytes));
    return {nullptr, new int64_t(static_cast<int64_t>(bytes)), &forget, c10::Device(c10::kMeta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &forget; }
  void copy_data(void*, const void*, std::size_t) const override {}

 private:
  static void forget(void* context) {
    auto* bytes = static_cast<int64_t*>(context);
    live_bytes -= *bytes;
    delete bytes;
  }
};

CountingAllocator counting;

using MaybeTensor = std::optional<Tensor>;

std::tuple<Tensor, Tensor, Tensor> layer_norm(const Tensor& x, at::IntArrayRef shape, const MaybeTensor&, const MaybeTensor&, double) {
  const int64_t rows = x.numel() / c10::multiply_integers(shape);
  const Tensor statistics = at::empty({rows}, x.options().dtype(at::kFloat));
  return {at::empty_like(x), statistics, at::empty_like(statistics)};
}

std::tuple<Tensor, Tensor, Tensor> group_norm(const Tensor& x, const MaybeTensor&, const MaybeTensor&, int64_t batch, int64_t, int64_t,
                                              int64_t groups, double) {
  const Tensor statistics = at::empty({batch, groups}, x.options().dtype(at::kFloat));
  return {at::empty_like(x), statistics, at::empty_like(statistics)};
}

// oneDNN computes in blocks of channels: on the CPU the map and the result are held a second time while it does.
Tensor convolution(const Tensor& x, const Tensor& weight, const MaybeTensor&, at::IntArrayRef stride, at::IntArrayRef padding,
                   at::IntArrayRef dilation, bool transposed, at::IntArrayRef, int64_t) {
  TORCH_CHECK(!transposed && x.dim() == 4, "AllocationMeter: a convolution of another kind");
  const auto along = [](at::IntArrayRef values, size_t axis) { return values[values.size() == 1 ? 0 : axis]; };
  std::vector<int64_t> shape = {x.size(0), weight.size(0)};
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t kernel = along(dilation, axis) * (weight.size(static_cast<int64_t>(axis) + 2) - 1) + 1;
    shape.push_back((x.size(static_cast<int64_t>(axis) + 2) + 2 * along(padding, axis) - kernel) / along(stride, axis) + 1);
  }
  Tensor out = at::empty(shape, x.options());
  if (AllocationMeter::stands_for() == c10::kCPU) at::empty({x.numel() + out.numel() + weight.numel()}, x.options());
  return out;
}

// Neither device holds the scores. The result lies as its callers want it next: heads beside each other.
Tensor attention(const Tensor& q, const Tensor&, const Tensor& v, const MaybeTensor&, double, bool, std::optional<double>, bool) {
  return at::empty({q.size(0), q.size(2), q.size(1), v.size(3)}, q.options()).transpose(1, 2);
}

Tensor embedding(const Tensor& weight, const Tensor& numbers, int64_t, bool, bool) {
  auto shape = numbers.sizes().vec();
  shape.push_back(weight.size(1));
  return at::empty(shape, weight.options());
}

Tensor index_select(const Tensor& x, int64_t axis, const Tensor& numbers) {
  auto shape = x.sizes().vec();
  shape[static_cast<size_t>(axis)] = numbers.numel();
  return at::empty(shape, x.options());
}

void register_kernels() {
  static torch::Library library(torch::Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__);
  static const bool once = [] {
    library.impl("native_layer_norm", TORCH_FN(layer_norm));
    library.impl("native_group_norm", TORCH_FN(group_norm));
    library.impl("convolution", TORCH_FN(convolution));
    library.impl("scaled_dot_product_attention", TORCH_FN(attention));
    library.impl("embedding", TORCH_FN(embedding));
    library.impl("index_select", TORCH_FN(index_select));
    return true;
  }();
  static_cast<void>(once);
}

}  // namespace

AllocationMeter::AllocationMeter(c10::DeviceType device) {
  TORCH_CHECK(!metering.exchange(true), "AllocationMeter: one at a time");
  register_kernels();
  place = device;
  usual = c10::GetAllocator(c10::kMeta);
  c10::SetAllocator(c10::kMeta, &counting);
  restart();
}

AllocationMeter::~AllocationMeter() {
  c10::SetAllocator(c10::kMeta, usual);
  place = c10::kCPU;
  metering = false;
}

int64_t AllocationMeter::live() const { return live_bytes; }
int64_t AllocationMeter::peak() const { return peak_bytes; }
void AllocationMeter::restart() { peak_bytes = live_bytes.load(); }
c10::DeviceType AllocationMeter::stands_for() { return place; }

}  // namespace resflow::nn
