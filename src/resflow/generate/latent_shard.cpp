#include "resflow/generate/latent_shard.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>

#include "resflow/autoencoders/file.h"
#include "resflow/core/device.h"
#include "resflow/generate/text_features.h"
#include "resflow/image/codec.h"
#include "resflow/image/resize.h"
#include "resflow/weights/safetensors.h"

namespace resflow::generate {
namespace {

Tensor resized(const Tensor& image, int64_t height, int64_t width) {
  if (image.size(1) == height && image.size(2) == width) return image;
  return image::resize(image, height, width).clamp(0, 1);
}

// The centre crop of both, [1, 3, side, side] each.
std::pair<Tensor, Tensor> crops(const ShardSample& sample, int64_t side) {
  Tensor good = image::read_picture(sample.good).pixels;
  const int64_t shorter = std::min(good.size(1), good.size(2));
  if (shorter < side) good = resized(good, (good.size(1) * side + shorter - 1) / shorter, (good.size(2) * side + shorter - 1) / shorter);
  const Tensor poor = resized(image::read_picture(sample.poor).pixels, good.size(1), good.size(2));
  const int64_t y = (good.size(1) - side) / 2, x = (good.size(2) - side) / 2;
  const auto cut = [&](const Tensor& t) { return t.narrow(1, y, side).narrow(2, x, side).unsqueeze(0); };
  return {cut(good), cut(poor)};
}

}  // namespace

void write_latent_shard(const std::filesystem::path& path, const std::vector<ShardSample>& samples, const ModelOptions& model,
                        const ShardOptions& options, const Job& job) {
  c10::InferenceMode inference;
  check_fields(options);
  if (samples.empty()) throw_user_error({.where = path.string(), .problem = "no picture to encode"});
  if (options.size % 16 != 0)
    throw_user_error({.where = "size", .problem = "not a multiple of 16", .wanted = "a multiple of 16", .got = std::to_string(options.size)});
  const ModelFolder folder = ModelFolder::open(model.model);
  const auto device = parse_device(model.device);

  // Texts first: the encoders are gone before the autoencoder comes. Each text once; the empty one for samples whose text is dropped.
  const auto text_type = options.text_type == "bf16" ? at::kBFloat16 : at::kFloat;
  std::map<std::string, TextFeatures> features = {{"", {}}};
  for (const auto& sample : samples) features[sample.text];
  for (auto& [text, found] : features) {
    job.throw_if_stopped();
    found = encode_text(folder, text, options.max_sequence_length, {device, parse_dtype(model.dtype, device), model.t5}, job);
    found.tokens = found.tokens.to(at::kCPU, text_type);
    found.pooled = found.pooled.to(at::kCPU, at::kFloat);
  }

  const auto autoencoder = autoencoders::load_autoencoder(model.vae.empty() ? folder.part("vae") : std::filesystem::path(model.vae),
                                                          {.dtype = at::kFloat, .device = device});
  std::vector<Tensor> latents, conditions, tokens, pooled;
  const auto encode = [&](const Tensor& image) { return autoencoder->encode(image.to(device)).to(at::kCPU); };  // [1, 16, h, w]
  for (const auto& sample : samples) {
    job.throw_if_stopped();
    const auto [good, poor] = crops(sample, options.size);
    latents.push_back(encode(good));
    conditions.push_back(encode(poor));
    tokens.push_back(features.at(sample.text).tokens);
    pooled.push_back(features.at(sample.text).pooled);
    job.report({.stage = "encode", .done = static_cast<int64_t>(latents.size()), .of = static_cast<int64_t>(samples.size())});
  }
  const Tensor black = at::zeros({1, 3, options.size, options.size});
  weights::write_safetensors(path,
                             {{"latents", at::cat(latents)},
                              {"conditions", at::cat(conditions)},
                              {"t5", at::cat(tokens)},
                              {"pooled", at::cat(pooled)},
                              {"empty.t5", features.at("").tokens[0]},
                              {"empty.pooled", features.at("").pooled[0]},
                              {"empty.condition", encode(black)[0]}},
                             {{"kind", "resflow latents"}, {"model", folder.name}});
}

}  // namespace resflow::generate
