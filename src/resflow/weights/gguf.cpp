#include "resflow/weights/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <set>

#include "resflow/core/error.h"
#include "resflow/weights/mapped_file.h"

namespace resflow::weights {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF's numbers are little-endian");

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kMostDimensions = 8;
constexpr int kDeepestArray = 4;
constexpr uint64_t kLargest = uint64_t{1} << 62;
constexpr const char* kIncomplete = "Perhaps an incomplete download?";

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                       const std::string& hint = "") {
  throw_user_error({.where = "gguf", .problem = path.string() + ": " + problem, .wanted = wanted, .got = got, .hint = hint});
}

class Reader {
 public:
  Reader(const std::filesystem::path& path, std::string_view bytes) : path_(path), bytes_(bytes) {}

  template <class Number>
  Number number() {
    Number out{};
    std::memcpy(&out, take(sizeof(out)).data(), sizeof(out));
    return out;
  }
  std::string_view string() { return take(number<uint64_t>()); }
  Json value(uint32_t type, int depth = 0) {
    switch (type) {
      case 0:
        return number<uint8_t>();
      case 1:
        return number<int8_t>();
      case 2:
        return number<uint16_t>();
      case 3:
        return number<int16_t>();
      case 4:
        return number<uint32_t>();
      case 5:
        return number<int32_t>();
      case 6:
        return number<float>();
      case 7:
        return number<uint8_t>() != 0;
      case 8:
        return std::string(string());
      case 9:
        return array(depth);
      case 10:
        return number<uint64_t>();
      case 11:
        return number<int64_t>();
      case 12:
        return number<double>();
      default:
        fail(path_, "a value of an unknown type", "0..12", std::to_string(type));
    }
  }
  size_t place() const { return place_; }

 private:
  Json array(int depth) {
    if (depth >= kDeepestArray) fail(path_, "arrays within arrays", fmt::format("at most {} deep", kDeepestArray));
    const auto type = number<uint32_t>();
    const auto count = number<uint64_t>();
    if (count > bytes_.size() - place_) fail(path_, "an array larger than the file", "", std::to_string(count), kIncomplete);
    Json out = Json::array();
    for (uint64_t i = 0; i < count; ++i) out.push_back(value(type, depth + 1));
    return out;
  }
  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - place_) fail(path_, "the file ends within its header", "", "", kIncomplete);
    const auto out = bytes_.substr(place_, count);
    place_ += count;
    return out;
  }

  const std::filesystem::path& path_;
  std::string_view bytes_;
  size_t place_ = 0;
};

struct Header {
  Json pairs = Json::object();
  uint64_t tensors = 0;
};

Header read_header(const std::filesystem::path& path, Reader& reader) {
  if (reader.number<std::array<char, 4>>() != std::array<char, 4>{'G', 'G', 'U', 'F'}) fail(path, "not a GGUF file");
  const auto version = reader.number<uint32_t>();
  if (version != 2 && version != 3) fail(path, "a version that is not known", "2 or 3, little-endian", std::to_string(version));
  Header out;
  out.tensors = reader.number<uint64_t>();
  const auto count = reader.number<uint64_t>();
  for (uint64_t i = 0; i < count; ++i) {
    const std::string key(reader.string());
    if (out.pairs.contains(key)) fail(path, fmt::format("the key '{}' is there twice", key));
    out.pairs[key] = reader.value(reader.number<uint32_t>());
  }
  return out;
}

// A type that PyTorch has too.
std::optional<c10::ScalarType> plain_type(uint32_t code) {
  switch (code) {
    case 0:
      return c10::kFloat;
    case 1:
      return c10::kHalf;
    case 24:
      return c10::kChar;
    case 25:
      return c10::kShort;
    case 26:
      return c10::kInt;
    case 27:
      return c10::kLong;
    case 28:
      return c10::kDouble;
    case 30:
      return c10::kBFloat16;
    default:
      return std::nullopt;
  }
}

uint64_t elements_of(const std::filesystem::path& path, const std::string& name, const std::vector<int64_t>& shape) {
  // Strides count a size of 0 as 1, so they must fit too.
  uint64_t out = 1, widest = 1;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(widest, static_cast<uint64_t>(std::max<int64_t>(size, 1)), &widest) || widest > kLargest)
      fail(path, fmt::format("tensor '{}': more elements than a file can hold", name));
    out *= static_cast<uint64_t>(size);
  }
  return out;
}

}  // namespace

bool is_gguf(std::string_view bytes) { return bytes.starts_with(kMagic); }

TensorTable read_gguf(const std::filesystem::path& path, std::string_view bytes) {
  Reader reader(path, bytes);
  const Header header = read_header(path, reader);
  TensorTable out{.format = "gguf"};
  for (const auto& [key, value] : header.pairs.items())
    if (!value.is_array()) out.metadata[key] = value.is_string() ? value.get<std::string>() : value.dump();

  std::set<std::string> names;
  for (uint64_t i = 0; i < header.tensors; ++i) {
    TensorEntry entry{.name = std::string(reader.string())};
    if (!names.insert(entry.name).second) fail(path, fmt::format("tensor '{}' is there twice", entry.name));
    const auto dimensions = reader.number<uint32_t>();
    if (dimensions > kMostDimensions)
      fail(path, fmt::format("tensor '{}': {} dimensions", entry.name, dimensions), fmt::format("at most {}", kMostDimensions));
    for (uint32_t k = 0; k < dimensions; ++k) entry.shape.insert(entry.shape.begin(), reader.number<int64_t>());
    const auto code = reader.number<uint32_t>();
    entry.begin = reader.number<uint64_t>();  // after the header, until the header's end is known

    entry.quantised = nn::quant_format(code);
    const auto type = plain_type(code);
    if (entry.quantised == nullptr && !type)
      fail(path, fmt::format("tensor '{}': ggml type {}", entry.name, code),
           "F32, F16, BF16, F64, integers, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or Q2_K..Q6_K");
    entry.dtype = type.value_or(c10::kFloat);
    const uint64_t count = elements_of(path, entry.name, entry.shape);
    if (entry.quantised != nullptr && (entry.shape.empty() || entry.shape.back() % entry.quantised->block != 0))
      fail(path, fmt::format("tensor '{}': {} rows of whole blocks", entry.name, entry.quantised->name),
           fmt::format("a multiple of {}", entry.quantised->block), entry.shape.empty() ? "a scalar" : std::to_string(entry.shape.back()));
    const std::string original = "comfy.gguf.orig_shape." + entry.name;
    if (header.pairs.contains(original)) {
      std::vector<int64_t> shape;
      for (const auto& size : header.pairs.at(original)) shape.push_back(size.is_number_integer() ? size.get<int64_t>() : -1);
      if (elements_of(path, entry.name, shape) != count) fail(path, fmt::format("tensor '{}': its original shape has another size", entry.name));
      entry.shape = shape;
    }
    out.entries.push_back(std::move(entry));
  }

  const Json alignment = header.pairs.value("general.alignment", Json(32));
  if (!alignment.is_number_unsigned() && !alignment.is_number_integer()) fail(path, "general.alignment is not a number");
  const auto step = alignment.get<uint64_t>();
  if (step == 0 || step > (1u << 20) || !std::has_single_bit(step)) fail(path, "general.alignment", "a power of two", std::to_string(step));
  const uint64_t start = (reader.place() + step - 1) / step * step;
  for (auto& entry : out.entries) {
    const uint64_t count = elements_of(path, entry.name, entry.shape);
    const uint64_t size = entry.quantised != nullptr
                              ? count / static_cast<uint64_t>(entry.quantised->block) * static_cast<uint64_t>(entry.quantised->bytes)
                              : count * c10::elementSize(entry.dtype);
    if (count > kLargest / 8 || entry.begin > bytes.size() || start > bytes.size() || size > bytes.size() ||
        start + entry.begin + size > bytes.size())
      fail(path, fmt::format("tensor '{}' ends behind the file", entry.name), fmt::format("at most {} bytes", bytes.size()),
           fmt::format("{}", start + entry.begin + size), kIncomplete);
    entry.begin += start;
  }
  return out;
}

Json read_gguf_metadata(const std::filesystem::path& path) {
  const MappedFile file(path, "gguf");
  Reader reader(path, {file.data(), file.size()});
  return read_header(path, reader).pairs;
}

}  // namespace resflow::weights
