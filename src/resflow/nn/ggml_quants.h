// ggml's block formats: runs of 32 or 256 weights that share scales (llama.cpp, ggml/src/ggml-quants.c). Q8_0, Q4_K and their kin are what
// GGUF files of FLUX and T5 are made of.
#pragma once

#include <cstdint>
#include <string_view>

namespace resflow::nn {

struct QuantFormat {
  std::string_view name;  // "Q4_K"
  uint32_t code;          // in GGUF files
  int64_t block;          // weights in a block
  int64_t bytes;          // of a block
  void (*unpack)(const unsigned char* block, float* out);
};

// Null where `code` is none of Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
const QuantFormat* quant_format(uint32_t code);

// `count` whole blocks, on all cores.
void dequantise(const QuantFormat& format, const unsigned char* blocks, int64_t count, float* out);

}  // namespace resflow::nn
