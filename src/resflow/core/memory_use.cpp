#include "resflow/core/memory_use.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fstream>
#include <string_view>

#include "resflow/core/error.h"

namespace resflow {
namespace {

constexpr int64_t kKiB = 1024, kMiB = kKiB * 1024, kGiB = kMiB * 1024;

// "NAME:   123 kB" in one of /proc's tables. -1: no such line.
int64_t table_bytes(const char* path, std::string_view name) {
  std::ifstream table(path);
  for (std::string line; std::getline(table, line);)
    if (line.starts_with(name)) return kKiB * std::strtoll(line.c_str() + name.size(), nullptr, 10);
  return -1;
}

// The number that a file holds alone; -1: none ("max").
int64_t number_in(const std::string& path) {
  int64_t out = -1;
  std::ifstream file(path);
  return file >> out ? out : -1;
}

// What the tightest control group above this process leaves, -1 without one. Its file cache is taken back before anything fails.
int64_t group_memory() {
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line) && !line.starts_with("0::")) {
  }
  int64_t out = -1;
  for (std::string group = line.starts_with("0::") ? line.substr(3) : ""; !group.empty(); group.resize(group.find_last_of('/'))) {
    const std::string folder = "/sys/fs/cgroup" + group;
    const int64_t limit = number_in(folder + "/memory.max"), used = number_in(folder + "/memory.current");
    if (limit < 0 || used < 0) continue;
    std::ifstream statistics(folder + "/memory.stat");
    int64_t cache = 0, value = 0;
    for (std::string name; statistics >> name >> value;)
      if (name == "inactive_file" || name == "active_file") cache += value;
    const int64_t left = std::max<int64_t>(limit - used + cache, 0);
    out = out < 0 ? left : std::min(out, left);
  }
  return out;
}

}  // namespace

MemoryUse memory_use() { return {.anonymous = table_bytes("/proc/self/status", "RssAnon:"), .mapped = table_bytes("/proc/self/status", "RssFile:")}; }

int64_t available_memory() {
  const int64_t machine = table_bytes("/proc/meminfo", "MemAvailable:"), group = group_memory();
  return group < 0 ? machine : machine < 0 ? group : std::min(machine, group);
}

void return_large_blocks() {
#ifdef __GLIBC__
  constexpr int kLarge = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kLarge);
  mallopt(M_TRIM_THRESHOLD, kLarge);
#endif
}

int64_t parse_bytes(const std::string& text, const std::string& where) {
  const auto fail = [&] {
    throw_user_error({.where = where, .problem = "bad amount of memory", .wanted = "a number with K, M or G, as in 12G", .got = text});
  };
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) fail();
  std::string unit;
  for (const char* c = end; c != text.data() + text.size(); ++c)
    if (*c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
  constexpr std::array<std::pair<std::string_view, int64_t>, 4> kUnits = {{{"", 1}, {"k", kKiB}, {"m", kMiB}, {"g", kGiB}}};
  const auto* found = std::find_if(kUnits.begin(), kUnits.end(), [&](const auto& known) {
    return unit == known.first || unit == std::string(known.first) + "b" || (!known.first.empty() && unit == std::string(known.first) + "ib");
  });
  if (found == kUnits.end()) fail();
  const double bytes = number * static_cast<double>(found->second);
  if (!(bytes >= 1 && bytes < 1e18)) fail();
  return static_cast<int64_t>(bytes);
}

std::string bytes_text(int64_t bytes) {
  if (bytes >= kGiB) return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / static_cast<double>(kGiB));
  if (bytes >= kMiB) return fmt::format("{:.0f} MiB", static_cast<double>(bytes) / static_cast<double>(kMiB));
  return fmt::format("{:.0f} KiB", static_cast<double>(bytes) / static_cast<double>(kKiB));
}

}  // namespace resflow
