#include "resflow/train/latents.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/error.h"

namespace resflow::train {
namespace {

Tensor checked(const weights::TensorFile& file, const char* name, size_t dimensions, int64_t count) {
  if (!file.contains(name))
    throw_user_error({.where = file.path().string(),
                      .problem = fmt::format("no tensor '{}'", name),
                      .wanted = "a shard of latents, conditions, t5 and pooled; with fusion.condition reference or both of references too",
                      .got = "other tensors",
                      .hint = "`resflow pack-latents` makes shards, with --removed those of references"});
  Tensor out = file.get(name);
  if (static_cast<size_t>(out.dim()) != dimensions || (count >= 0 && out.size(0) != count) || out.numel() == 0 || !out.is_floating_point())
    throw_user_error({.where = file.path().string(),
                      .problem = fmt::format("tensor '{}' does not fit", name),
                      .wanted = fmt::format("floats in {} dimensions{}", dimensions, count >= 0 ? fmt::format(", {} rows", count) : ""),
                      .got = c10::str(out.sizes())});
  return out;
}

Tensor empty_or_zero(const weights::TensorFile& file, const char* name, const Tensor& like) {
  if (!file.contains(name)) return at::zeros_like(like.narrow(0, 0, 1), like.options().dtype(at::kFloat));
  Tensor out = file.get(name).to(at::kFloat).unsqueeze(0);
  if (out.sizes() != like.narrow(0, 0, 1).sizes())
    throw_user_error({.where = file.path().string(),
                      .problem = fmt::format("tensor '{}' does not fit", name),
                      .wanted = c10::str(like.sizes().slice(1)),
                      .got = c10::str(out.sizes().slice(1))});
  return out;
}

}  // namespace

LatentShards::LatentShards(const std::vector<std::string>& paths, const std::string& condition) {
  if (paths.empty()) throw_user_error({.where = "data", .problem = "no shard to train on"});
  for (const auto& path : paths) {
    const auto file = weights::TensorFile::open(path);
    Shard shard{};
    shard.clean = checked(file, "latents", 4, -1);
    shard.count = shard.clean.size(0);
    std::vector<Tensor> shown;
    if (condition != "reference") shown.push_back(checked(file, "conditions", 4, shard.count));
    if (condition != "lq") shown.push_back(checked(file, "references", 4, shard.count));
    shard.text = checked(file, "t5", 3, shard.count);
    shard.pooled = checked(file, "pooled", 2, shard.count);
    for (const auto* map : {&shard.clean, &shown.front()})
      if (map->size(2) % 2 != 0 || map->size(3) % 2 != 0)
        throw_user_error(
            {.where = path, .problem = "latents of an odd side", .wanted = "even sides: a token is 2 x 2", .got = c10::str(map->sizes())});
    if (shown.front().sizes() != shown.back().sizes())
      throw_user_error({.where = path,
                        .problem = "tensor 'references' does not fit",
                        .wanted = c10::str(shown.front().sizes()),
                        .got = c10::str(shown.back().sizes())});
    shard.conditions = shown;
    shard.empty = {.clean = {},
                   .condition = empty_or_zero(file, "empty.condition", shown.front()).unsqueeze(1),
                   .text = empty_or_zero(file, "empty.t5", shard.text),
                   .pooled = empty_or_zero(file, "empty.pooled", shard.pooled)};
    samples_ += shard.count;
    shards_.push_back(std::move(shard));
  }
}

Latents LatentShards::rows(size_t shard, const std::vector<int64_t>& rows) const {
  const Shard& from = shards_.at(shard);
  const Tensor places = at::tensor(rows, at::kLong);
  const auto take = [&](const Tensor& t) { return t.index_select(0, places).to(at::kFloat); };
  std::vector<Tensor> shown;
  for (const auto& condition : from.conditions) shown.push_back(take(condition));
  return {.clean = take(from.clean), .condition = at::stack(shown, 1), .text = take(from.text), .pooled = take(from.pooled)};
}

Latents LatentShards::empty(size_t shard) const { return shards_.at(shard).empty; }

}  // namespace resflow::train
