#include "resflow/nn/ggml_unpack.h"

#include <ATen/ATen.h>

namespace resflow::nn {
namespace {

// blocks: uint8 [N, bytes of a block]; what is taken of it by first byte and count.
Tensor bytes(const Tensor& blocks, int64_t at, int64_t count) { return blocks.narrow(1, at, count); }
Tensor half(const Tensor& blocks, int64_t at) { return bytes(blocks, at, 2).contiguous().view(at::kHalf).to(at::kFloat); }  // [N, 1]
Tensor low(const Tensor& x) { return x.bitwise_and(15); }
Tensor high(const Tensor& x) { return at::bitwise_right_shift(x, 4); }
Tensor as_float(const Tensor& x) { return x.to(at::kFloat); }

// The numbers of `width` bits in each byte, low ones first: [N, ..., K] -> [N, ..., 8 / width, K]
Tensor parts(const Tensor& x, int64_t width) {
  const Tensor shifts = at::arange(0, 8, width, x.options());
  return at::bitwise_right_shift(x.unsqueeze(-2), shifts.unsqueeze(-1)).bitwise_and((1 << width) - 1);
}

// 32 weights of 4 bits in 16 bytes at `at`, a fifth bit each in the 4 bytes at `fifth`, if any. -> [N, 32]
Tensor nibbles(const Tensor& blocks, int64_t at, int64_t fifth = -1) {
  const Tensor q = parts(bytes(blocks, at, 16), 4).flatten(1);
  if (fifth < 0) return q;
  return q + parts(bytes(blocks, fifth, 4), 1).transpose(1, 2).flatten(1) * 16;
}

// Two bits each of 256 weights: 32 bytes hold four runs of 32. -> [N, 256]
Tensor pairs(const Tensor& blocks, int64_t at) { return parts(bytes(blocks, at, 64).unflatten(1, {2, 32}), 2).flatten(1); }

Tensor by_run(const Tensor& weights, int64_t runs) { return weights.unflatten(1, {runs, weights.size(1) / runs}); }

Tensor unpack_q2_k(const Tensor& b) {
  const Tensor scales = bytes(b, 0, 16);  // [N, 16]
  const Tensor scale = half(b, 80) * as_float(low(scales)), min = half(b, 82) * as_float(high(scales));
  return (scale.unsqueeze(2) * as_float(by_run(pairs(b, 16), 16)) - min.unsqueeze(2)).flatten(1);
}

Tensor unpack_q3_k(const Tensor& b) {
  const Tensor packed = bytes(b, 96, 12);
  const Tensor scales = parts(bytes(packed, 0, 8), 4).flatten(1) + parts(bytes(packed, 8, 4), 2).flatten(1) * 16;  // [N, 16]
  const Tensor above = parts(bytes(b, 0, 32), 1).flatten(1);                                                       // [N, 256]: run by run
  const Tensor q = as_float(pairs(b, 32)) - 4 * (1 - as_float(above));
  return ((half(b, 108) * (as_float(scales) - 32)).unsqueeze(2) * by_run(q, 16)).flatten(1);
}

// Q4_K and Q5_K. quants: where their 128 bytes begin; fifth: where the 32 bytes of fifth bits do, or -1.
Tensor unpack_k(const Tensor& b, int64_t quants, int64_t fifth) {
  const Tensor first = bytes(b, 4, 4), second = bytes(b, 8, 4), third = bytes(b, 12, 4);
  const auto top = [](const Tensor& x) { return at::bitwise_right_shift(x, 6) * 16; };
  const Tensor scale = half(b, 0) * as_float(at::cat({first.bitwise_and(63), low(third) + top(first)}, 1));   // [N, 8]
  const Tensor min = half(b, 2) * as_float(at::cat({second.bitwise_and(63), high(third) + top(second)}, 1));  // [N, 8]
  Tensor q = parts(bytes(b, quants, 128).unflatten(1, {4, 32}), 4).flatten(1);                                // [N, 256]
  if (fifth >= 0) q = q + parts(bytes(b, fifth, 32), 1).flatten(1) * 16;
  return (scale.unsqueeze(2) * as_float(by_run(q, 8)) - min.unsqueeze(2)).flatten(1);
}

Tensor unpack_q6_k(const Tensor& b) {
  const Tensor below = parts(bytes(b, 0, 128).unflatten(1, {2, 64}), 4).flatten(1);  // [N, 256]: 64 low halves, then 64 high ones
  const Tensor q = as_float(below + pairs(b, 128) * 16) - 32;
  const Tensor scales = as_float(bytes(b, 192, 16).contiguous().view(at::kChar));
  return ((half(b, 208) * scales).unsqueeze(2) * by_run(q, 16)).flatten(1);
}

Tensor unpacked(uint32_t code, const Tensor& b) {
  switch (code) {
    case 2:
      return half(b, 0) * (as_float(nibbles(b, 2)) - 8);
    case 3:
      return half(b, 0) * as_float(nibbles(b, 4)) + half(b, 2);
    case 6:
      return half(b, 0) * (as_float(nibbles(b, 6, 2)) - 16);
    case 7:
      return half(b, 0) * as_float(nibbles(b, 8, 4)) + half(b, 2);
    case 8:
      return half(b, 0) * as_float(bytes(b, 2, 32).contiguous().view(at::kChar));
    case 10:
      return unpack_q2_k(b);
    case 11:
      return unpack_q3_k(b);
    case 12:
      return unpack_k(b, 16, -1);
    case 13:
      return unpack_k(b, 48, 16);
    case 14:
      return unpack_q6_k(b);
    default:
      TORCH_CHECK(false, "unpack_on_device: format ", code);
  }
}

}  // namespace

Tensor unpack_on_device(const QuantFormat& format, const Tensor& stored) {
  const int64_t rows = stored.size(0), columns = stored.size(1) / format.bytes * format.block;
  if (stored.numel() == 0) return at::empty({rows, columns}, stored.options().dtype(at::kFloat));
  return unpacked(format.code, stored.reshape({-1, format.bytes})).view({rows, columns});
}

}  // namespace resflow::nn
