#include "resflow/rewards/inception.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "resflow/core/error.h"

namespace resflow::rewards {
namespace {

constexpr double kEps = 1e-3;
constexpr std::array<const char*, 5> kOfALayer = {".conv.weight", ".bn.weight", ".bn.bias", ".bn.running_mean", ".bn.running_var"};

Tensor halved(const Tensor& x) { return at::max_pool2d(x, {3, 3}, {2, 2}); }
Tensor max_of_three(const Tensor& x) { return at::max_pool2d(x, {3, 3}, {1, 1}, {1, 1}); }
Tensor mean_of_three(const Tensor& x) { return at::avg_pool2d(x, {3, 3}, {1, 1}, {1, 1}, /*ceil_mode=*/false, /*count_include_pad=*/false); }

}  // namespace

struct Inception::Layer {
  std::string name;
  int64_t in, out, height, width, stride = 1;
  bool padded = true;  // so that the size stays; never with a stride
};

void Inception::read(const weights::TensorFile& file, const std::string& block, std::initializer_list<Layer> layers) {
  for (const auto& layer : layers) {
    const auto name = block + layer.name;
    const auto get = [&](const char* part, const std::vector<int64_t>& wanted) {
      const auto tensor = name + part;
      if (!file.contains(tensor) || file.shape(tensor) != wanted)
        throw_user_error({.where = file.path().string(),
                          .problem = "not the Inception-v3 of FID",
                          .wanted = fmt::format("{} [{}]", tensor, fmt::join(wanted, ", ")),
                          .got = file.contains(tensor) ? fmt::format("[{}]", fmt::join(file.shape(tensor), ", ")) : "none"});
      return file.get(tensor).to(at::kDouble);
    };
    const Tensor kernel = get(kOfALayer[0], {layer.out, layer.in, layer.height, layer.width}), weight = get(kOfALayer[1], {layer.out});
    const Tensor bias = get(kOfALayer[2], {layer.out}), mean = get(kOfALayer[3], {layer.out}), variance = get(kOfALayer[4], {layer.out});
    const Tensor scale = weight / (variance + kEps).sqrt();
    const bool padded = layer.padded && layer.stride == 1;
    convs_[name] = {.weight = (kernel * scale.view({-1, 1, 1, 1})).to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast),
                    .bias = (bias - mean * scale).to(at::kFloat),
                    .stride = layer.stride,
                    .padding = {padded ? layer.height / 2 : 0, padded ? layer.width / 2 : 0}};
  }
}

Inception::Inception(const weights::TensorFile& file) {
  read(file, "",
       {{"Conv2d_1a_3x3", 3, 32, 3, 3, 2},
        {"Conv2d_2a_3x3", 32, 32, 3, 3, 1, false},
        {"Conv2d_2b_3x3", 32, 64, 3, 3},
        {"Conv2d_3b_1x1", 64, 80, 1, 1},
        {"Conv2d_4a_3x3", 80, 192, 3, 3, 1, false}});
  const auto read_a = [&](const std::string& block, int64_t in, int64_t pooled) {
    read(file, block,
         {{"branch1x1", in, 64, 1, 1},
          {"branch5x5_1", in, 48, 1, 1},
          {"branch5x5_2", 48, 64, 5, 5},
          {"branch3x3dbl_1", in, 64, 1, 1},
          {"branch3x3dbl_2", 64, 96, 3, 3},
          {"branch3x3dbl_3", 96, 96, 3, 3},
          {"branch_pool", in, pooled, 1, 1}});
  };
  read_a("Mixed_5b.", 192, 32);
  read_a("Mixed_5c.", 256, 64);
  read_a("Mixed_5d.", 288, 64);
  read(file, "Mixed_6a.",
       {{"branch3x3", 288, 384, 3, 3, 2}, {"branch3x3dbl_1", 288, 64, 1, 1}, {"branch3x3dbl_2", 64, 96, 3, 3}, {"branch3x3dbl_3", 96, 96, 3, 3, 2}});
  const auto read_c = [&](const std::string& block, int64_t inner) {
    read(file, block,
         {{"branch1x1", 768, 192, 1, 1},
          {"branch7x7_1", 768, inner, 1, 1},
          {"branch7x7_2", inner, inner, 1, 7},
          {"branch7x7_3", inner, 192, 7, 1},
          {"branch7x7dbl_1", 768, inner, 1, 1},
          {"branch7x7dbl_2", inner, inner, 7, 1},
          {"branch7x7dbl_3", inner, inner, 1, 7},
          {"branch7x7dbl_4", inner, inner, 7, 1},
          {"branch7x7dbl_5", inner, 192, 1, 7},
          {"branch_pool", 768, 192, 1, 1}});
  };
  read_c("Mixed_6b.", 128);
  read_c("Mixed_6c.", 160);
  read_c("Mixed_6d.", 160);
  read_c("Mixed_6e.", 192);
  read(file, "Mixed_7a.",
       {{"branch3x3_1", 768, 192, 1, 1},
        {"branch3x3_2", 192, 320, 3, 3, 2},
        {"branch7x7x3_1", 768, 192, 1, 1},
        {"branch7x7x3_2", 192, 192, 1, 7},
        {"branch7x7x3_3", 192, 192, 7, 1},
        {"branch7x7x3_4", 192, 192, 3, 3, 2}});
  const auto read_e = [&](const std::string& block, int64_t in) {
    read(file, block,
         {{"branch1x1", in, 320, 1, 1},
          {"branch3x3_1", in, 384, 1, 1},
          {"branch3x3_2a", 384, 384, 1, 3},
          {"branch3x3_2b", 384, 384, 3, 1},
          {"branch3x3dbl_1", in, 448, 1, 1},
          {"branch3x3dbl_2", 448, 384, 3, 3},
          {"branch3x3dbl_3a", 384, 384, 1, 3},
          {"branch3x3dbl_3b", 384, 384, 3, 1},
          {"branch_pool", in, 192, 1, 1}});
  };
  read_e("Mixed_7b.", 1280);
  read_e("Mixed_7c.", 2048);

  std::set<std::string> known;
  for (const auto& [name, conv] : convs_)
    for (const auto* part : kOfALayer) known.insert(name + part);
  for (const auto& name : file.names())
    if (!known.contains(name) && !name.starts_with("fc.") && !name.ends_with("num_batches_tracked"))
      throw_user_error({.where = file.path().string(),
                        .problem = "not the Inception-v3 of FID: tensor '" + name + "' has no place",
                        .hint = "Torchvision's own Inception-v3 gives other numbers"});
}

Tensor Inception::run(const std::string& block, std::initializer_list<const char*> layers, Tensor x) const {
  for (const auto* layer : layers) {
    const auto& conv = convs_.at(block + layer);
    x = at::conv2d(x, conv.weight, conv.bias, conv.stride, at::IntArrayRef(conv.padding)).relu_();
  }
  return x;
}

Tensor Inception::block_a(const std::string& block, const Tensor& x) const {
  return at::cat({run(block, {"branch1x1"}, x), run(block, {"branch5x5_1", "branch5x5_2"}, x),
                  run(block, {"branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"}, x), run(block, {"branch_pool"}, mean_of_three(x))},
                 1);
}

Tensor Inception::block_b(const std::string& block, const Tensor& x) const {
  return at::cat({run(block, {"branch3x3"}, x), run(block, {"branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"}, x), halved(x)}, 1);
}

Tensor Inception::block_c(const std::string& block, const Tensor& x) const {
  return at::cat({run(block, {"branch1x1"}, x), run(block, {"branch7x7_1", "branch7x7_2", "branch7x7_3"}, x),
                  run(block, {"branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"}, x),
                  run(block, {"branch_pool"}, mean_of_three(x))},
                 1);
}

Tensor Inception::block_d(const std::string& block, const Tensor& x) const {
  return at::cat(
      {run(block, {"branch3x3_1", "branch3x3_2"}, x), run(block, {"branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"}, x), halved(x)},
      1);
}

Tensor Inception::block_e(const std::string& block, const Tensor& x, bool max_pool) const {
  const Tensor one = run(block, {"branch3x3_1"}, x), two = run(block, {"branch3x3dbl_1", "branch3x3dbl_2"}, x);
  return at::cat(
      {run(block, {"branch1x1"}, x), run(block, {"branch3x3_2a"}, one), run(block, {"branch3x3_2b"}, one), run(block, {"branch3x3dbl_3a"}, two),
       run(block, {"branch3x3dbl_3b"}, two), run(block, {"branch_pool"}, max_pool ? max_of_three(x) : mean_of_three(x))},
      1);
}

Tensor Inception::features(const Tensor& images) const {
  check_shape(images, "B 3 S S", "images");
  Tensor x = images.to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  x = halved(run("", {"Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"}, x));  // [B, 64, 73, 73]
  x = halved(run("", {"Conv2d_3b_1x1", "Conv2d_4a_3x3"}, x));                   // [B, 192, 35, 35]
  for (const char* block : {"Mixed_5b.", "Mixed_5c.", "Mixed_5d."}) x = block_a(block, x);
  x = block_b("Mixed_6a.", x);  // [B, 768, 17, 17]
  for (const char* block : {"Mixed_6b.", "Mixed_6c.", "Mixed_6d.", "Mixed_6e."}) x = block_c(block, x);
  x = block_d("Mixed_7a.", x);  // [B, 1280, 8, 8]
  x = block_e("Mixed_7c.", block_e("Mixed_7b.", x, false), true);
  return x.mean(at::IntArrayRef{2, 3});  // [B, 2048]
}

}  // namespace resflow::rewards
