#include "resflow/nn/quantised_weight.h"

#include <ATen/ATen.h>

#include "resflow/nn/allocation_meter.h"
#include "resflow/nn/ggml_unpack.h"

namespace resflow::nn {
namespace {

Tensor unpacked(const QuantFormat& format, const Tensor& stored) {
  if (stored.is_meta() && AllocationMeter::stands_for() == c10::kCPU)
    return at::empty({stored.size(0), stored.size(1) / format.bytes * format.block}, stored.options().dtype(at::kFloat));
  if (!stored.is_cpu()) return unpack_on_device(format, stored);
  const Tensor bytes = stored.contiguous();
  const Tensor out = at::empty({bytes.size(0), bytes.size(1) / format.bytes * format.block}, at::kFloat);
  dequantise(format, bytes.data_ptr<uint8_t>(), bytes.numel() / format.bytes, out.data_ptr<float>());
  return out;
}

}  // namespace

Tensor QuantisedWeight::dequantise() const {
  if (format != nullptr) return unpacked(*format, stored).to(dtype);
  if (!scale.defined()) return stored.to(dtype);
  return (stored.to(at::kFloat) * scale).to(dtype);
}

Tensor QuantisedWeight::rows(const Tensor& numbers) const {
  const Tensor flat = numbers.flatten();
  // float8 has no index_select: its bytes do.
  const bool narrow = stored.element_size() == 1;
  const Tensor chosen = narrow ? stored.view(at::kByte).index_select(0, flat).view(stored.scalar_type()) : stored.index_select(0, flat);
  const Tensor factor = scale.defined() && scale.numel() > 1 ? scale.index_select(0, flat) : scale;
  const QuantisedWeight part{.stored = chosen, .format = format, .scale = factor, .dtype = dtype};
  auto shape = numbers.sizes().vec();
  shape.push_back(in());
  return part.dequantise().view(shape);
}

void QuantisedWeight::to(c10::Device device, c10::ScalarType wanted) {
  stored = stored.to(device);
  if (scale.defined()) scale = scale.to(device);
  dtype = wanted;
}

}  // namespace resflow::nn
