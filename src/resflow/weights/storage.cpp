#include "resflow/weights/storage.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "resflow/core/error.h"
#include "resflow/core/json.h"
#include "resflow/core/registry.h"
#include "resflow/nn/ggml_quantise.h"

namespace resflow::weights {
namespace {

constexpr int64_t kSmall = 1024;  // numbers
constexpr double kLargestE4m3 = 448;

// What one type of --type is.
struct Type {
  std::optional<c10::ScalarType> plain;
  const nn::QuantFormat* blocks = nullptr;
  bool float8 = false;
};

Type type_of(const Storage& storage) {
  const std::string& name = storage.type;
  if (name.empty()) return {};
  if (name == "f32") return {.plain = at::kFloat};
  if (name == "f16") return {.plain = at::kHalf};
  if (name == "bf16") return {.plain = at::kBFloat16};
  const bool gguf = storage.container == Container::gguf;
  std::string upper = name;
  for (auto& letter : upper) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  const auto* blocks = nn::writable_quant_format(upper);
  if (blocks != nullptr || name == "fp8") {
    if (gguf != (blocks != nullptr))
      throw_user_error({.where = "convert",
                        .problem = name + (gguf ? " is not in GGUF's power" : " is not in safetensors' power"),
                        .wanted = gguf ? "f32, f16, bf16, q8_0, q4_0 or q4_k" : "f32, f16, bf16 or fp8"});
    return {.blocks = blocks, .float8 = name == "fp8"};
  }
  throw_unknown_name("type", name, {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "fp8"});
}

Tensor wide(const TensorFile& file, const std::string& name) { return file.get(name).to(at::kFloat); }

void count(ConversionLoss& loss, const Tensor& before, const Tensor& after) {
  const auto error = (after.to(at::kFloat) - before).square_().sum(at::kDouble).item<double>();
  if (error == 0) return;  // a wider type, or numbers that fit
  loss.squares += before.square().sum(at::kDouble).item<double>();
  loss.error_squares += error;
  ++loss.changed;
}

class Conversion {
 public:
  Conversion(const TensorFile& file, const Storage& storage, std::shared_ptr<ConversionLoss> loss)
      : file_(file), storage_(storage), type_(type_of(storage)), loss_(std::move(loss)) {}

  void add(const std::string& name) {
    const auto shape = file_.shape(name);
    const bool matrix = shape.size() == 2 && c10::multiply_integers(shape) > kSmall;
    if (!c10::isFloatingType(file_.dtype(name)))
      copy(name);
    else if (storage_.container == Container::gguf && !matrix)
      plain(name, at::kFloat);
    else if (type_.plain)
      plain(name, *type_.plain);
    else if (storage_.container == Container::gguf)
      into_gguf(name, shape);
    else
      into_safetensors(name, matrix);
  }

  std::vector<WrittenTensor> tensors;
  Json float8_layers = Json::object();

 private:
  bool is_plain(const std::string& name) const { return !file_.quantised(name); }
  // The narrowest plain type that loses nothing, or little.
  c10::ScalarType plain_type(const std::string& name) const { return is_plain(name) ? file_.dtype(name) : at::kBFloat16; }

  void into_gguf(const std::string& name, const std::vector<int64_t>& shape) {
    const auto* held = is_plain(name) ? nullptr : file_.stored(name).format;
    const nn::QuantFormat* wanted = type_.blocks != nullptr ? type_.blocks : held;
    if (wanted == nullptr || (type_.blocks != nullptr && storage_.keep(name))) return plain(name, plain_type(name));
    if (shape.back() % wanted->block != 0) wanted = nn::writable_quant_format("Q8_0");
    if (shape.back() % wanted->block != 0) return plain(name, at::kHalf);
    blocks(name, *wanted);
  }
  void into_safetensors(const std::string& name, bool matrix) {
    const bool held = matrix && !is_plain(name) && file_.stored(name).format == nullptr;
    if (held) return float8_as_it_is(name);
    if (!type_.float8 || !matrix || storage_.keep(name)) return plain(name, plain_type(name));
    new_float8(name);
  }

  void copy(const std::string& name) { plain(name, file_.dtype(name)); }
  void plain(const std::string& name, c10::ScalarType dtype) {
    tensors.push_back({.name = name, .shape = file_.shape(name), .dtype = dtype, .make = [file = file_, name, dtype, loss = loss_] {
                         const Tensor numbers = file.get(name);
                         if (numbers.scalar_type() == dtype) return numbers;
                         const Tensor before = numbers.to(at::kFloat);
                         const Tensor out = before.to(dtype);
                         count(*loss, before, out);
                         return out;
                       }});
  }
  void blocks(const std::string& name, const nn::QuantFormat& format) {
    tensors.push_back({.name = name, .shape = file_.shape(name), .format = &format, .make = [file = file_, name, &format, loss = loss_] {
                         if (file.quantised(name))
                           if (const auto held = file.stored(name); held.format == &format) return held.stored;
                         const Tensor before = wide(file, name);
                         const Tensor out = nn::quantise(format, before);
                         count(*loss, before, nn::QuantisedWeight{.stored = out, .format = &format}.dequantise());
                         return out;
                       }});
  }
  void float8_as_it_is(const std::string& name) {
    const auto held = file_.stored(name);
    tensors.push_back({.name = name, .shape = file_.shape(name), .dtype = held.stored.scalar_type(), .make = [file = file_, name] {
                         return file.stored(name).stored;
                       }});
    if (held.scale.defined())
      scale(name, held.scale.numel() == 1 ? std::vector<int64_t>{} : held.scale.sizes().vec(),
            [file = file_, name] { return file.stored(name).scale; });
  }
  void new_float8(const std::string& name) {
    const auto scale_of = [](const Tensor& numbers) {
      const double most = numbers.abs().max().item<double>();
      return at::scalar_tensor(most > 0 ? most / kLargestE4m3 : 1.0, at::kFloat);
    };
    tensors.push_back({.name = name, .shape = file_.shape(name), .dtype = at::kFloat8_e4m3fn, .make = [file = file_, name, scale_of, loss = loss_] {
                         const Tensor before = wide(file, name), by = scale_of(before);
                         const Tensor out = (before / by).clamp_(-kLargestE4m3, kLargestE4m3).to(at::kFloat8_e4m3fn);
                         count(*loss, before, out.to(at::kFloat) * by);
                         return out;
                       }});
    scale(name, {}, [file = file_, name, scale_of] { return scale_of(wide(file, name)); });
  }
  void scale(const std::string& weight, const std::vector<int64_t>& shape, std::function<Tensor()> make) {
    const auto layer = weight.substr(0, weight.rfind('.'));
    tensors.push_back({.name = layer + ".weight_scale", .shape = shape, .dtype = at::kFloat, .make = std::move(make)});
    const auto type = file_.stored_type(weight);
    float8_layers[layer] = {{"format", type.find("e5m2") != std::string::npos   ? "float8_e5m2"
                                       : type.find("Char") != std::string::npos ? "int8_tensorwise"
                                                                                : "float8_e4m3fn"}};
  }

  const TensorFile& file_;
  const Storage& storage_;
  Type type_;
  std::shared_ptr<ConversionLoss> loss_;
};

}  // namespace

double ConversionLoss::relative() const { return squares > 0 ? std::sqrt(error_squares / squares) : 0; }

std::vector<WrittenTensor> tensors_as(const TensorFile& file, const Storage& storage, std::map<std::string, std::string>& metadata,
                                      const std::shared_ptr<ConversionLoss>& loss) {
  Conversion conversion(file, storage, loss);
  for (const auto& name : file.names()) conversion.add(name);
  if (!conversion.float8_layers.empty())
    metadata["_quantization_metadata"] = Json{{"format_version", "1.0"}, {"layers", conversion.float8_layers}}.dump();
  return std::move(conversion.tensors);
}

}  // namespace resflow::weights
