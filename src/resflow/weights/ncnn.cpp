#include "resflow/weights/ncnn.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <sstream>

#include "resflow/core/device.h"
#include "resflow/core/error.h"
#include "resflow/weights/pickle.h"
#include "resflow/weights/tensor_source.h"

namespace resflow::weights {
namespace {

constexpr std::string_view kMagic = "7767517";
constexpr int64_t kMostLayers = 100000;
constexpr double kMostNumbers = 1e9;  // of one tensor
// How a weight is stored (modelbin.cpp); the second float32 comes from int8 models whose layer was left alone.
constexpr uint32_t kHalf = 0x01306B47, kFloat = 0, kFloatBesideInt8 = 0x0002C056;
constexpr int kFirstArray = -23300;  // "-23310=1,0.2": setting 10 is an array of one number

[[noreturn]] void fail(const std::string& file, const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                       const std::string& hint = "") {
  throw_user_error({.where = "ncnn", .problem = file + ": " + problem, .wanted = wanted, .got = got, .hint = hint});
}

class TensorsInMemory final : public TensorSource {
 public:
  TensorsInMemory(std::filesystem::path path, std::vector<std::pair<std::string, Tensor>> tensors) : path_(std::move(path)) {
    for (auto& [name, tensor] : tensors) {
      names_.push_back(name);
      tensors_.emplace(std::move(name), std::move(tensor));
    }
  }
  const std::filesystem::path& path() const override { return path_; }
  const std::string& format() const override { return format_; }
  const std::vector<std::string>& names() const override { return names_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  bool contains(std::string_view name) const override { return tensors_.find(name) != tensors_.end(); }
  std::vector<int64_t> shape(std::string_view name) const override { return get(name).sizes().vec(); }
  c10::ScalarType dtype(std::string_view name) const override { return get(name).scalar_type(); }
  std::string stored_type(std::string_view name) const override { return dtype_name(dtype(name)); }
  Tensor get(std::string_view name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw_no_tensor(*this, name);
    return found->second;
  }

 private:
  std::filesystem::path path_;
  std::string format_ = "ncnn";
  std::vector<std::string> names_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

// "0=64", "-23310=1,2.000000e-01"
void read_setting(NcnnLayer& layer, const std::string& word, const std::string& file) {
  const auto bad = [&] { fail(file, fmt::format("layer '{}' has a setting that is none", printable(layer.name)), "number=number", printable(word)); };
  const auto equals = word.find('=');
  if (equals == std::string::npos) bad();
  char* end = nullptr;
  const std::string key_text = word.substr(0, equals);
  const auto key = static_cast<int>(std::strtol(key_text.c_str(), &end, 10));
  if (key_text.empty() || *end != '\0') bad();
  std::vector<double> values;
  std::istringstream list(word.substr(equals + 1));
  for (std::string item; std::getline(list, item, ',');) {
    values.push_back(std::strtod(item.c_str(), &end));
    if (item.empty() || *end != '\0' || !std::isfinite(values.back())) bad();
  }
  if (values.empty()) bad();
  if (key > kFirstArray) {
    layer.settings[key] = {values.front()};
    return;
  }
  if (values.front() != static_cast<double>(values.size() - 1)) bad();
  layer.settings[kFirstArray - key] = {values.begin() + 1, values.end()};
}

NcnnLayer read_layer(const std::string& line, const std::string& file) {
  std::istringstream words(line);
  NcnnLayer layer;
  int64_t inputs = -1, outputs = -1;
  words >> layer.type >> layer.name >> inputs >> outputs;
  if (!words || inputs < 0 || outputs < 0 || inputs > kMostLayers || outputs > kMostLayers)
    fail(file, "a line that describes no layer", "type, name, number of inputs and outputs", printable(line.substr(0, 80)));
  for (auto* blobs : {&layer.inputs, &layer.outputs})
    for (int64_t i = 0; i < (blobs == &layer.inputs ? inputs : outputs); ++i) {
      words >> blobs->emplace_back();
      if (!words) fail(file, fmt::format("layer '{}' has fewer inputs or outputs than it says", printable(layer.name)));
    }
  for (std::string word; words >> word;) read_setting(layer, word, file);
  return layer;
}

std::vector<NcnnLayer> read_layers(std::string_view param, const std::string& file) {
  std::istringstream lines{std::string(param)};
  std::string line;
  std::getline(lines, line);
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) line.pop_back();
  if (line != kMagic) fail(file, "the .param file is no text of ncnn's layers", std::string(kMagic), printable(line.substr(0, 40)));
  int64_t layers = 0, blobs = 0;
  std::getline(lines, line);
  if (!(std::istringstream(line) >> layers >> blobs) || layers < 1 || layers > kMostLayers)
    fail(file, "the .param file does not say how many layers there are", "", printable(line.substr(0, 40)));
  std::vector<NcnnLayer> out;
  while (std::getline(lines, line))
    if (line.find_first_not_of(" \t\r") != std::string::npos) out.push_back(read_layer(line, file));
  if (static_cast<int64_t>(out.size()) != layers)
    fail(file, "the .param file is cut short, or has more than it says", fmt::format("{} layers", layers), std::to_string(out.size()));
  return out;
}

// Takes the numbers of one layer after another.
class Numbers {
 public:
  Numbers(std::string_view bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  // With a word before it that says how it is stored.
  Tensor marked(const NcnnLayer& layer, at::IntArrayRef shape) {
    uint32_t mark = 0;
    std::memcpy(&mark, take(layer, sizeof mark), sizeof mark);
    if (mark == kHalf) return plain(layer, shape, at::kHalf);
    if (mark == kFloat || mark == kFloatBesideInt8) return plain(layer, shape);
    fail(file_, fmt::format("layer '{}' is stored in a way that is not read", printable(layer.name)), "float16 or float32",
         fmt::format("mark 0x{:08X}", mark), "int8 models are not read; perhaps the .bin belongs to another .param");
  }
  Tensor plain(const NcnnLayer& layer, at::IntArrayRef shape, c10::ScalarType type = at::kFloat) {
    const auto bytes = static_cast<uint64_t>(c10::multiply_integers(shape)) * c10::elementSize(type);
    Tensor out = at::empty(shape, type);
    std::memcpy(out.mutable_data_ptr(), take(layer, (bytes + 3) / 4 * 4), bytes);
    return out;
  }
  void end() const {
    if (at_ != bytes_.size())
      fail(file_, "the .bin file goes on after the last layer", fmt::format("{} bytes", at_), std::to_string(bytes_.size()),
           "Does the .param belong to another .bin?");
  }

 private:
  const char* take(const NcnnLayer& layer, uint64_t count) {
    if (count > bytes_.size() - at_)
      fail(file_, fmt::format("the .bin file ends within layer '{}'", printable(layer.name)), fmt::format("{} bytes or more", at_ + count),
           std::to_string(bytes_.size()), "An incomplete download, or the .param of another model?");
    at_ += count;
    return bytes_.data() + at_ - count;
  }

  std::string_view bytes_;
  const std::string& file_;
  uint64_t at_ = 0;
};

int64_t whole(const NcnnLayer& layer, int number, const std::string& file) {
  const double value = layer.setting(number, 0);
  if (value < 1 || value > kMostNumbers || value != std::floor(value))
    fail(file, fmt::format("layer '{}' has a bad size", printable(layer.name)), "a whole number of 1 or more", fmt::format("{}={:g}", number, value));
  return static_cast<int64_t>(value);
}

// Settings of Convolution: 0 outputs, 1 kernel, 5 bias, 6 numbers, 8 int8, 11 the kernel's height.
void read_convolution(const NcnnLayer& layer, Numbers& numbers, const std::string& file, std::vector<std::pair<std::string, Tensor>>& out) {
  const int64_t outputs = whole(layer, 0, file), kernel = whole(layer, 1, file), count = whole(layer, 6, file);
  if (layer.setting(11, static_cast<double>(kernel)) != static_cast<double>(kernel) || layer.setting(8, 0) != 0)
    fail(file, fmt::format("layer '{}' is a convolution that is not read", printable(layer.name)), "a square kernel, no int8");
  const double per_input = static_cast<double>(outputs) * static_cast<double>(kernel) * static_cast<double>(kernel);
  if (std::fmod(static_cast<double>(count), per_input) != 0)
    fail(file, fmt::format("layer '{}' has a number of weights that fits no convolution", printable(layer.name)),
         fmt::format("a multiple of {:g}", per_input), std::to_string(count));
  const int64_t inputs = count / (outputs * kernel * kernel);
  out.emplace_back(layer.name + ".weight", numbers.marked(layer, {outputs, inputs, kernel, kernel}));
  if (layer.setting(5, 0) != 0) out.emplace_back(layer.name + ".bias", numbers.plain(layer, {outputs}));
}

}  // namespace

double NcnnLayer::setting(int number, double otherwise) const {
  const auto found = settings.find(number);
  return found == settings.end() || found->second.empty() ? otherwise : found->second.front();
}

NcnnModel read_ncnn(const std::string& file, std::string_view param, std::string_view bin) {
  constexpr std::array<std::string_view, 7> kWithout = {"Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp", "PixelShuffle"};
  auto layers = read_layers(param, file);
  Numbers numbers(bin, file);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& layer : layers) {
    if (layer.type == "Convolution") {
      read_convolution(layer, numbers, file, tensors);
    } else if (layer.type == "PReLU") {
      tensors.emplace_back(layer.name + ".weight", numbers.plain(layer, {whole(layer, 0, file)}));
    } else if (std::find(kWithout.begin(), kWithout.end(), layer.type) == kWithout.end()) {
      fail(file, fmt::format("layer '{}' is of a type that is not read", printable(layer.name)), "a Real-ESRGAN network's layers",
           printable(layer.type));
    }
  }
  numbers.end();
  std::map<std::string, int> seen;
  for (const auto& [name, tensor] : tensors)
    if (++seen[name] > 1) fail(file, fmt::format("two layers '{}'", printable(name.substr(0, name.rfind('.')))));
  return {.layers = std::move(layers), .tensors = TensorFile(std::make_shared<const TensorsInMemory>(file, std::move(tensors)))};
}

}  // namespace resflow::weights
