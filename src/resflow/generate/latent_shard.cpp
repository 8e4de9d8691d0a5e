#include "resflow/generate/latent_shard.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "resflow/autoencoders/file.h"
#include "resflow/core/device.h"
#include "resflow/generate/text_features.h"
#include "resflow/image/resize.h"
#include "resflow/weights/safetensors.h"

namespace resflow::generate {
namespace {

Tensor resized(const Tensor& image, int64_t height, int64_t width) {
  if (image.size(1) == height && image.size(2) == width) return image;
  return image::resize(image, height, width).clamp(0, 1);
}

// All at the bucket's size, [1, 3, height, width] each: the first, the good picture, brought to cover it, or, `cut_only`, no smaller than it; the
// centre of that; the others alike.
std::vector<Tensor> crops(const std::vector<Tensor>& pictures, const Bucket& to, bool cut_only) {
  Tensor good = pictures.front();
  const double scale =
      std::max(static_cast<double>(to.height) / static_cast<double>(good.size(1)), static_cast<double>(to.width) / static_cast<double>(good.size(2)));
  if (!cut_only || scale > 1) {
    // The side that decides is met exactly, the other is no smaller.
    const auto side = [&](int64_t length, int64_t wanted) {
      return std::max(wanted, static_cast<int64_t>(std::ceil(scale * static_cast<double>(length) - 1e-6)));
    };
    good = resized(good, side(good.size(1), to.height), side(good.size(2), to.width));
  }
  const int64_t y = (good.size(1) - to.height) / 2, x = (good.size(2) - to.width) / 2;
  const auto cut = [&](const Tensor& t) { return t.narrow(1, y, to.height).narrow(2, x, to.width).unsqueeze(0); };
  std::vector<Tensor> out = {cut(good)};
  for (size_t i = 1; i < pictures.size(); ++i) out.push_back(cut(resized(pictures[i], good.size(1), good.size(2))));
  return out;
}

void check(const ShardOptions& options) {
  check_fields(options);
  if (options.size % 16 != 0)
    throw_user_error({.where = "size", .problem = "not a multiple of 16", .wanted = "a multiple of 16", .got = std::to_string(options.size)});
  if (options.bucket_step % 16 != 0 || (options.buckets && options.bucket_step > options.size))
    throw_user_error({.where = "bucket_step",
                      .problem = "sizes cannot be made of it",
                      .wanted = "a multiple of 16, no larger than size",
                      .got = std::to_string(options.bucket_step)});
}

// Each text once; the empty one for samples whose text is dropped. The encoders are gone before the autoencoder comes.
std::map<std::string, TextFeatures> encode_texts(const SampleStream& samples, const ModelFolder& folder, const ModelOptions& model,
                                                 const ShardOptions& options, const Job& job, int64_t& count) {
  const auto device = parse_device(model.device);
  const auto text_type = options.text_type == "bf16" ? at::kBFloat16 : at::kFloat;
  std::map<std::string, TextFeatures> features = {{"", {}}};
  samples(/*pixels=*/false, [&](const ShardSample& sample) {
    features[sample.text];
    ++count;
  });
  for (auto& [text, found] : features) {
    if (count == 0) break;
    job.throw_if_stopped();
    found = encode_text(folder, text, options.max_sequence_length, {device, parse_dtype(model.dtype, device), model.t5}, job);
    found.tokens = found.tokens.to(at::kCPU, text_type);
    found.pooled = found.pooled.to(at::kCPU, at::kFloat);
  }
  return features;
}

struct Rows {
  std::vector<Tensor> latents, conditions, references, tokens, pooled;
};

std::filesystem::path shard_path(const std::filesystem::path& path, const Bucket& bucket, bool buckets) {
  if (!buckets) return path;
  auto out = path;
  return out.replace_filename(fmt::format("{}-{}x{}{}", path.stem().string(), bucket.width, bucket.height, path.extension().string()));
}

}  // namespace

std::vector<Bucket> buckets_of(int64_t size, int64_t step) {
  constexpr int64_t kLongest = 2;  // times the shorter side
  std::vector<Bucket> out;
  for (int64_t width = step; width <= kLongest * size; width += step) {
    const int64_t height = size * size / width / step * step;
    if (height > 0 && height <= kLongest * width && width <= kLongest * height) out.push_back({height, width});
  }
  if (out.empty()) out.push_back({size, size});
  return out;
}

Bucket nearest_bucket(const std::vector<Bucket>& buckets, int64_t height, int64_t width) {
  const auto shape = [](int64_t h, int64_t w) { return std::log(static_cast<double>(w) / static_cast<double>(h)); };
  const double wanted = shape(height, width);
  return *std::min_element(buckets.begin(), buckets.end(), [&](const Bucket& a, const Bucket& b) {
    const double to_a = std::abs(shape(a.height, a.width) - wanted), to_b = std::abs(shape(b.height, b.width) - wanted);
    return std::abs(to_a - to_b) > 1e-9 ? to_a < to_b : a.height * a.width > b.height * b.width;
  });
}

WrittenShards write_latent_shards(const std::filesystem::path& path, const SampleStream& samples, const ModelOptions& model,
                                  const ShardOptions& options, const Job& job) {
  c10::InferenceMode inference;
  check(options);
  const ModelFolder folder = ModelFolder::open(model.model);
  const auto device = parse_device(model.device);
  int64_t count = 0, done = 0;
  const auto features = encode_texts(samples, folder, model, options, job, count);
  if (count == 0) throw_user_error({.where = path.string(), .problem = "no picture to encode"});

  const auto autoencoder = autoencoders::load_autoencoder(model.vae.empty() ? folder.part("vae") : std::filesystem::path(model.vae),
                                                          {.dtype = at::kFloat, .device = device});
  const auto encode = [&](const Tensor& image) { return autoencoder->encode(image.to(device)).to(at::kCPU); };  // [1, 16, h, w]
  const auto buckets = options.buckets ? buckets_of(options.size, options.bucket_step) : std::vector<Bucket>{{options.size, options.size}};
  std::map<Bucket, Rows> rows;
  WrittenShards out;
  samples(/*pixels=*/true, [&](const ShardSample& sample) {
    job.throw_if_stopped();
    try {
      const Tensor pixels = sample.good();
      const Bucket bucket = nearest_bucket(buckets, pixels.size(1), pixels.size(2));
      std::vector<Tensor> pictures = {pixels, sample.poor()};
      if (sample.removed) pictures.push_back(sample.removed());
      pictures = crops(pictures, bucket, /*cut_only=*/!options.buckets);
      auto& to = rows[bucket];
      to.latents.push_back(encode(pictures[0]));
      to.conditions.push_back(encode(pictures[1]));
      if (sample.removed) to.references.push_back(encode(pictures[2]));
      to.tokens.push_back(features.at(sample.text).tokens);
      to.pooled.push_back(features.at(sample.text).pooled);
    } catch (const UserError& error) {
      out.failed.emplace_back(sample.where, error.what());
    }
    job.report({.stage = "encode", .done = ++done, .of = count});
  });
  if (rows.empty())
    throw_user_error({.where = path.string(), .problem = "no picture could be read", .got = out.failed.empty() ? "" : out.failed.front().second});
  for (const auto& [bucket, of] : rows) {
    const auto shard = shard_path(path, bucket, options.buckets);
    std::vector<std::pair<std::string, Tensor>> tensors = {{"latents", at::cat(of.latents)},
                                                           {"conditions", at::cat(of.conditions)},
                                                           {"t5", at::cat(of.tokens)},
                                                           {"pooled", at::cat(of.pooled)},
                                                           {"empty.t5", features.at("").tokens[0]},
                                                           {"empty.pooled", features.at("").pooled[0]},
                                                           {"empty.condition", encode(at::zeros({1, 3, bucket.height, bucket.width}))[0]}};
    if (!of.references.empty()) tensors.emplace_back("references", at::cat(of.references));
    weights::write_safetensors(shard, tensors, {{"kind", "resflow latents"}, {"model", folder.name}});
    out.shards.emplace_back(shard, static_cast<int64_t>(of.latents.size()));
  }
  return out;
}

}  // namespace resflow::generate
