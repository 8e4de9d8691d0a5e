#include "resflow/models/swinir/swin_attention.h"

#include <ATen/ATen.h>

#include "resflow/nn/attention.h"

namespace resflow::models {
namespace {

constexpr double kClosed = -100;  // the authors' value: e^-100 is nothing beside e^0

// int64 [window^4]
Tensor bias_rows(int64_t window) {
  const int64_t reach = 2 * window - 1;
  std::vector<int64_t> rows;
  for (int64_t to = 0; to < window * window; ++to)
    for (int64_t from = 0; from < window * window; ++from)
      rows.push_back((to / window - from / window + window - 1) * reach + to % window - from % window + window - 1);
  return at::tensor(rows, at::kLong);
}

// Which of three bands each row lies in after a roll by `shift`: inside, before the old border, beyond it. int64 [size]
Tensor bands(int64_t size, int64_t window, int64_t shift) {
  Tensor band = at::zeros({size}, at::kLong);
  band.slice(0, size - window, size - shift).fill_(1);
  band.slice(0, size - shift).fill_(2);
  return band;
}

}  // namespace

Tensor to_windows(const Tensor& map, int64_t window) {
  const int64_t down = map.size(1) / window, across = map.size(2) / window;
  return map.reshape({map.size(0), down, window, across, window, map.size(3)}).transpose(2, 3).reshape({-1, window * window, map.size(3)});
}

Tensor from_windows(const Tensor& windows, int64_t window, int64_t height, int64_t width) {
  return windows.reshape({-1, height / window, width / window, window, window, windows.size(2)})
      .transpose(2, 3)
      .reshape({-1, height, width, windows.size(2)});
}

Tensor shift_mask(int64_t height, int64_t width, int64_t window, int64_t shift) {
  const Tensor place = 3 * bands(height, window, shift).unsqueeze(1) + bands(width, window, shift);  // [height, width]
  const Tensor inside = to_windows(place.view({1, height, width, 1}), window).squeeze(2);            // [n, window^2]
  return (inside.unsqueeze(1) != inside.unsqueeze(2)).to(at::kFloat).mul_(kClosed);
}

WindowAttention::WindowAttention(Module& parent, const std::string& name, const SwinBlockConfig& config)
    : Module(parent, name),
      config_(config),
      qkv_(*this, "qkv", config.width, 3 * config.width),
      proj_(*this, "proj", config.width, config.width),
      index_(bias_rows(config.window)) {
  const int64_t reach = 2 * config.window - 1;
  declare("relative_position_bias_table", relative_position_bias_table, {reach * reach, config.heads});
}

Tensor WindowAttention::forward(const Tensor& windows, const Tensor& mask) const {
  const int64_t tokens = config_.window * config_.window;
  const Tensor bias = relative_position_bias_table.index_select(0, index_.to(windows.device()))
                          .view({tokens, tokens, config_.heads})
                          .permute({2, 0, 1});  // [heads, tokens, tokens]
  Tensor added = bias.unsqueeze(0);             // [1, heads, tokens, tokens]
  if (mask.defined()) added = (added + mask.to(windows.device(), bias.scalar_type()).unsqueeze(1)).repeat({windows.size(0) / mask.size(0), 1, 1, 1});
  const auto parts = qkv_.forward(windows).chunk(3, -1);
  const auto heads = [&](size_t i) { return nn::split_heads(parts[i], config_.heads); };
  return proj_.forward(nn::join_heads(nn::attention(heads(0), heads(1), heads(2), added)));
}

SwinBlock::SwinBlock(Module& parent, const std::string& name, const SwinBlockConfig& config)
    : Module(parent, name),
      config_(config),
      norm1_(*this, "norm1", config.width),
      attn_(*this, "attn", config),
      norm2_(*this, "norm2", config.width),
      fc1_(*this, "mlp.fc1", config.width, config.hidden),
      fc2_(*this, "mlp.fc2", config.hidden, config.width) {}

Tensor SwinBlock::forward(const Tensor& map, const Tensor& mask) const {
  const int64_t shift = config_.shift;
  Tensor x = norm1_.forward(map);
  if (shift > 0) x = x.roll({-shift, -shift}, {1, 2});
  x = from_windows(attn_.forward(to_windows(x, config_.window), shift > 0 ? mask : Tensor()), config_.window, map.size(1), map.size(2));
  if (shift > 0) x = x.roll({shift, shift}, {1, 2});
  x = map + x;
  return x + fc2_.forward(at::gelu(fc1_.forward(norm2_.forward(x))));
}

}  // namespace resflow::models
