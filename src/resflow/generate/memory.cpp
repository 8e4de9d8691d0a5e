#include "resflow/generate/memory.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "resflow/core/device.h"
#include "resflow/core/memory_use.h"

namespace resflow::generate {
namespace {

constexpr std::array<const char*, 3> kNames = {"none", "text", "stream"};

Json bytes_json(const Bytes& bytes) { return {{"anonymous", bytes.anonymous}, {"mapped", bytes.mapped}, {"device", bytes.device}}; }

// What of the free memory may be planned with: allocators round up, and others allocate too.
int64_t usable(int64_t available) { return available < 0 ? available : available - available / 20; }

}  // namespace

std::string offload_name(Offload mode) { return kNames.at(static_cast<size_t>(mode)); }

Offload offload_of(const std::string& name) {
  const auto* found = std::find(kNames.begin(), kNames.end(), name);
  TORCH_CHECK(found != kNames.end(), "offload_of: '", name, "'");
  return static_cast<Offload>(found - kNames.begin());
}

Bytes ModeNeed::peak() const {
  Bytes out;
  for (const auto& [name, bytes] : stages)
    out = {std::max(out.anonymous, bytes.anonymous), std::max(out.mapped, bytes.mapped), std::max(out.device, bytes.device)};
  return out;
}

int64_t Needs::scarce(Offload wanted) const { return device.is_cpu() ? mode(wanted).peak().anonymous : mode(wanted).peak().device; }

Decision decide(const Needs& needs, const MemoryOptions& options, int64_t available) {
  check_fields(options);
  const bool bounded = !options.max_vram.empty();
  const int64_t limit = bounded ? parse_bytes(options.max_vram, "max_vram") : usable(available);
  const auto as = [&](Offload mode) { return Decision{.mode = mode, .needed = needs.scarce(mode), .limit = limit}; };
  Decision out = as(Offload::stream);
  if (options.offload != "auto") {
    out = as(offload_of(options.offload));
  } else if (!needs.device.is_cpu() && as(Offload::text).fits()) {
    out = as(Offload::text);
  }
  if (bounded && !out.fits())
    throw_user_error({.where = "max_vram",
                      .problem = fmt::format("less memory than --offload {} takes", offload_name(out.mode)),
                      .wanted = bytes_text(out.needed),
                      .got = options.max_vram,
                      .hint = out.mode == Offload::stream ? "A smaller picture takes less; `resflow doctor` says what takes how much"
                                                          : fmt::format("--offload stream takes {}", bytes_text(needs.scarce(Offload::stream)))});
  return out;
}

int64_t free_memory(c10::Device device) {
  if (device.is_cpu()) return available_memory();
  if (!at::hasCUDA()) return -1;
  try {
    at::globalContext().lazyInitDevice(device.type());
    return static_cast<int64_t>(c10::getDeviceAllocator(device.type())->getMemoryInfo(std::max<c10::DeviceIndex>(device.index(), 0)).first);
  } catch (const c10::Error&) {  // another allocator than CUDA's usual one, which does not tell
    return -1;
  }
}

Json needs_json(const Needs& needs, const Decision& decision) {
  Json parts = Json::array(), modes = Json::object();
  for (const auto& part : needs.parts)
    parts.push_back(
        {{"part", part.name}, {"file", part.path.string()}, {"parameters", part.parameters}, {"bytes", part.bytes}, {"types", part.types}});
  for (const auto& mode : needs.modes) {
    Json stages = Json::object();
    for (const auto& [name, bytes] : mode.stages) stages[name] = bytes_json(bytes);
    modes[offload_name(mode.mode)] = bytes_json(mode.peak());
    modes[offload_name(mode.mode)]["stages"] = stages;
  }
  const auto known = [](int64_t bytes) { return bytes < 0 ? Json() : Json(bytes); };
  return {{"device", needs.device.str()},
          {"dtype", dtype_name(needs.dtype)},
          {"parts", parts},
          {"modes", modes},
          {"limit", known(decision.limit)},
          {"offload", offload_name(decision.mode)},
          {"needed", decision.needed},
          {"fits", decision.limit < 0 ? Json() : Json(decision.fits())}};
}

}  // namespace resflow::generate
