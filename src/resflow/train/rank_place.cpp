#include "resflow/train/rank_place.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "resflow/core/error.h"

namespace resflow::train {
namespace {

constexpr const char* kHint =
    "torchrun sets it: torchrun --no-python --nproc-per-node=2 resflow train CONFIG. For one process alone, unset WORLD_SIZE";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string needed(const char* name) {
  std::string value = variable(name);
  if (value.empty()) throw_user_error({.where = "train", .problem = fmt::format("WORLD_SIZE is set, {} is not", name), .hint = kHint});
  return value;
}

int64_t whole(const char* name, const std::string& value, int64_t low, int64_t high) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < low || number > high)
    throw_user_error({.where = "train",
                      .problem = fmt::format("environment variable {}", name),
                      .wanted = fmt::format("a whole number of {} to {}", low, high),
                      .got = "'" + value + "'",
                      .hint = kHint});
  return number;
}

}  // namespace

RankPlace rank_place() {
  RankPlace place;
  const std::string count = variable("WORLD_SIZE");
  if (count.empty()) return place;
  place.count = whole("WORLD_SIZE", count, 1, 1 << 20);
  if (place.count == 1) return place;
  place.rank = whole("RANK", needed("RANK"), 0, place.count - 1);
  const std::string local = variable("LOCAL_RANK");
  place.local = local.empty() ? place.rank : whole("LOCAL_RANK", local, 0, place.count - 1);
  place.address = needed("MASTER_ADDR");
  place.port = whole("MASTER_PORT", needed("MASTER_PORT"), 1, 65535);
  place.hosts = place.first() && variable("TORCHELASTIC_USE_AGENT_STORE") != "True";
  place.prefix = "resflow/" + variable("TORCHELASTIC_RESTART_COUNT");
  return place;
}

std::optional<int64_t> gpu_of(const std::string& device, int64_t local, int64_t gpus) {
  if (device.find(':') != std::string::npos) return std::nullopt;
  return local % gpus;
}

}  // namespace resflow::train
