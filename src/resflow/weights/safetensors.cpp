#include "resflow/weights/safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/json.h"

namespace resflow::weights {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kLongestHeader = 100'000'000;  // the reference implementation's limit
constexpr int kDeepestJson = 4;                   // {tensor: {"shape": [
constexpr const char* kMetadata = "__metadata__";
constexpr const char* kIncomplete = "Perhaps an incomplete download?";

constexpr std::array<std::pair<const char*, c10::ScalarType>, 12> kTypes = {{{"F64", c10::kDouble},
                                                                             {"F32", c10::kFloat},
                                                                             {"F16", c10::kHalf},
                                                                             {"BF16", c10::kBFloat16},
                                                                             {"I64", c10::kLong},
                                                                             {"I32", c10::kInt},
                                                                             {"I16", c10::kShort},
                                                                             {"I8", c10::kChar},
                                                                             {"U8", c10::kByte},
                                                                             {"BOOL", c10::kBool},
                                                                             {"F8_E4M3", c10::kFloat8_e4m3fn},
                                                                             {"F8_E5M2", c10::kFloat8_e5m2}}};

struct Span {
  TensorEntry entry;            // its begin: set at the end
  uint64_t begin = 0, end = 0;  // bytes after the header
};

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                       const std::string& hint = "") {
  throw_user_error({.where = "safetensors", .problem = path.string() + ": " + problem, .wanted = wanted, .got = got, .hint = hint});
}

// What people save under this name by mistake.
std::string hint_of(std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs")) return "This is a Git LFS pointer: fetch the file itself with `git lfs pull`";
  if (bytes.starts_with("\x80")) return "This looks like a plain Python pickle; of those, only what torch.save writes is read";
  if (bytes.starts_with("<")) return "This looks like a web page that was saved in the file's place";
  return kIncomplete;
}

// The header's JSON; a key given twice is an error, which the JSON library lets pass.
nlohmann::json parse_json(const std::filesystem::path& path, std::string_view text) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > kDeepestJson) fail(path, "the header's JSON is nested too deeply");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second)
      fail(path, fmt::format("the header names '{}' twice", parsed.get<std::string>()));
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::parse_error& error) {  // its text would quote the file's raw bytes
    fail(path, fmt::format("the header is not JSON (byte {} of {})", error.byte, text.size()), "", "", kIncomplete);
  } catch (const nlohmann::json::out_of_range&) {
    fail(path, "a number in the header is too large");
  }
}

Span parse_span(const std::filesystem::path& path, const std::string& name, const nlohmann::json& json, uint64_t data_bytes) {
  const auto bad = [&](const std::string& problem, const std::string& wanted, const std::string& got, const std::string& hint = "") {
    fail(path, fmt::format("tensor '{}': {}", name, problem), wanted, got, hint);
  };
  const auto is_count = [](const nlohmann::json& n) { return n.is_number_unsigned() && n.get<uint64_t>() <= uint64_t{INT64_MAX}; };
  if (!json.is_object()) bad("bad entry", "a JSON object", json.type_name());
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!json.contains(key)) bad("incomplete entry", "dtype, shape and data_offsets", json.dump());

  Span span{.entry = {.name = name}};
  const auto& dtype = json.at("dtype");
  const auto* type = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return dtype == t.first; });
  if (type == kTypes.end()) {
    std::vector<std::string> known;
    for (const auto& t : kTypes) known.emplace_back(t.first);
    bad("unknown dtype", fmt::format("one of {}", fmt::join(known, " ")), dtype.dump());
  }
  span.entry.dtype = type->second;

  const auto& shape = json.at("shape");
  if (!shape.is_array() || !std::all_of(shape.begin(), shape.end(), is_count)) bad("bad shape", "a list of sizes, each 0 or more", shape.dump());
  span.entry.shape = shape.get<std::vector<int64_t>>();
  // Strides count a size of 0 as 1, so they must fit too.
  auto bytes = static_cast<uint64_t>(c10::elementSize(span.entry.dtype)), widest = bytes;
  for (const int64_t size : span.entry.shape) {
    bytes *= static_cast<uint64_t>(size);
    if (__builtin_mul_overflow(widest, static_cast<uint64_t>(std::max<int64_t>(size, 1)), &widest) || widest > uint64_t{INT64_MAX})
      bad("its shape is too large", "less than 2^63 bytes", shape.dump());
  }

  const auto& offsets = json.at("data_offsets");
  if (!offsets.is_array() || offsets.size() != 2 || !std::all_of(offsets.begin(), offsets.end(), is_count))
    bad("bad data_offsets", "[begin, end]", offsets.dump());
  span.begin = offsets[0].get<uint64_t>();
  span.end = offsets[1].get<uint64_t>();
  if (span.begin > span.end) bad("its offsets are out of order", "begin <= end", offsets.dump());
  if (span.end > data_bytes)
    bad("offsets end past the file", fmt::format("at most {} bytes after the header", data_bytes), std::to_string(span.end), kIncomplete);
  if (span.end - span.begin != bytes)
    bad("its offsets do not match its shape", fmt::format("{} bytes for {} {}", bytes, type->first, shape.dump()),
        std::to_string(span.end - span.begin));
  return span;
}

std::map<std::string, std::string> parse_metadata(const std::filesystem::path& path, const nlohmann::json& json) {
  if (!json.is_object()) fail(path, "bad __metadata__", "a JSON object", json.type_name());
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) fail(path, fmt::format("__metadata__: bad value of '{}'", key), "a string", value.type_name());
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

}  // namespace

TensorTable read_safetensors(const std::filesystem::path& path, std::string_view bytes) {
  if (bytes.size() < kLengthBytes + 2)
    fail(path, "too short for a header", fmt::format("{} bytes or more", kLengthBytes + 2), std::to_string(bytes.size()), kIncomplete);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);  // both the format and the machines we build for are little endian
  if (length > kLongestHeader)
    fail(path, "not a safetensors file: bad header length", fmt::format("at most {}", kLongestHeader), std::to_string(length), hint_of(bytes));
  if (length > bytes.size() - kLengthBytes)
    fail(path, "the header ends past the file", fmt::format("at most {} bytes", bytes.size() - kLengthBytes), std::to_string(length), hint_of(bytes));
  const auto text = bytes.substr(kLengthBytes, length);
  if (!text.starts_with('{')) fail(path, "not a safetensors file: bad header", "a JSON object", "", hint_of(bytes));

  TensorTable table{.format = "safetensors"};
  std::vector<Span> spans;
  const uint64_t data_start = kLengthBytes + length, data_bytes = bytes.size() - data_start;
  const auto json = parse_json(path, text);
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadata) {
      table.metadata = parse_metadata(path, value);
    } else {
      spans.push_back(parse_span(path, name, value, data_bytes));
    }
  }
  std::stable_sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  uint64_t covered = 0;
  for (auto& span : spans) {
    if (span.begin != covered)
      fail(path, fmt::format("tensor '{}': {}", span.entry.name, span.begin < covered ? "overlaps another" : "unused bytes before it"),
           fmt::format("begin at {}", covered), std::to_string(span.begin));
    covered = span.end;
    span.entry.begin = data_start + span.begin;
    table.entries.push_back(std::move(span.entry));
  }
  if (covered != data_bytes) fail(path, "unused bytes after the last tensor", fmt::format("{} bytes of data", covered), std::to_string(data_bytes));
  return table;
}

void write_safetensors(const std::filesystem::path& path, std::vector<WrittenTensor> ordered, const std::map<std::string, std::string>& metadata) {
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return c10::elementSize(a.dtype) > c10::elementSize(b.dtype); });

  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  uint64_t offset = 0;
  for (const auto& tensor : ordered) {
    const auto* type = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return tensor.dtype == t.second; });
    TORCH_CHECK(tensor.name != kMetadata && tensor.format == nullptr, "write_safetensors: bad tensor '", tensor.name, "'");
    TORCH_CHECK(type != kTypes.end(), "write_safetensors: tensor '", tensor.name, "': no such type in the format: ", tensor.dtype);
    TORCH_CHECK(!header.contains(tensor.name), "write_safetensors: tensor '", tensor.name, "' is given twice");
    const uint64_t end = offset + static_cast<uint64_t>(tensor.bytes());
    header[tensor.name] = {{"dtype", type->first}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begin aligned

  write_atomically(path, [&](const std::filesystem::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    const uint64_t length = text.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    for (const auto& tensor : ordered) {
      const Tensor stored = tensor.make().detach().to(at::kCPU).contiguous();
      TORCH_CHECK(stored.scalar_type() == tensor.dtype && stored.numel() * stored.element_size() == tensor.bytes(), "write_safetensors: '",
                  tensor.name, "' is not what was announced");
      out.write(static_cast<const char*>(stored.data_ptr()), tensor.bytes());
    }
    out.close();
    if (!out) fail(path, std::string("cannot be written: ") + std::strerror(errno));
  });
}

void write_safetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<WrittenTensor> written;
  for (const auto& [name, tensor] : tensors) {
    TORCH_CHECK(tensor.defined(), "write_safetensors: bad tensor '", name, "'");
    written.push_back({.name = name, .shape = tensor.sizes().vec(), .dtype = tensor.scalar_type(), .make = [kept = tensor] { return kept; }});
  }
  write_safetensors(path, std::move(written), metadata);
}

}  // namespace resflow::weights
