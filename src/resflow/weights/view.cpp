#include "resflow/weights/view.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "resflow/core/device.h"
#include "resflow/core/error.h"
#include "resflow/weights/tensor_source.h"

namespace resflow::weights {
namespace {

using Shape = std::vector<int64_t>;

[[noreturn]] void fail(const TensorFile& file, const std::string& name, const std::string& wanted, const std::string& got) {
  throw_user_error({.where = "load",
                    .problem = fmt::format("{}: tensor '{}' has another shape than its name tells", file.path().string(), name),
                    .wanted = wanted,
                    .got = got,
                    .hint = "Is this the file of another model?"});
}

std::string text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// at::cat knows no float8.
Tensor joined(const std::vector<Tensor>& parts) {
  if (parts.size() == 1) return parts.front();
  if (!at::isFloat8Type(parts.front().scalar_type())) return at::cat(parts);
  std::vector<Tensor> bytes;
  for (const auto& part : parts) bytes.push_back(part.contiguous().view(at::kByte));
  return at::cat(bytes).view(parts.front().scalar_type());
}

// The shape of the rows below each other; each row's count is filled in.
Shape joined_shape(const TensorFile& file, ViewTensor& tensor) {
  Shape out;
  int64_t total = 0;
  for (auto& part : tensor.rows) {
    Shape shape = file.shape(part.name);
    if (shape.empty() && tensor.rows.size() == 1 && part.begin == 0 && part.count < 0) return shape;
    if (shape.empty()) fail(file, part.name, "one axis or more", "a single number");
    if (part.count < 0) part.count = shape[0] - part.begin;
    if (part.begin < 0 || part.count < 0 || part.begin + part.count > shape[0])
      fail(file, part.name, fmt::format("{} rows or more", part.begin + std::max<int64_t>(part.count, 0)), text(shape));
    total += part.count;
    shape[0] = 0;
    if (out.empty()) out = shape;
    if (shape != out) fail(file, part.name, text(out) + " but for the rows", text(shape));
  }
  out[0] = total;
  return out;
}

void reshape(const TensorFile& file, const ViewTensor& tensor, Shape& shape) {
  if (tensor.axes < 0) return;
  const auto axes = static_cast<size_t>(tensor.axes);
  while (shape.size() > axes && shape.back() == 1) shape.pop_back();
  if (shape.size() > axes) fail(file, tensor.rows.front().name, fmt::format("{} axes", axes), text(shape));
  shape.resize(axes, 1);
}

class View final : public TensorSource {
 public:
  View(const TensorFile& file, std::vector<ViewTensor> tensors) : file_(file) {
    for (auto& tensor : tensors) {
      TORCH_CHECK(!tensor.rows.empty(), "view: '", tensor.name, "' is made of nothing");
      Item item{.shape = joined_shape(file_, tensor)};
      reshape(file_, tensor, item.shape);
      item.rows = std::move(tensor.rows);
      TORCH_CHECK(items_.emplace(tensor.name, std::move(item)).second, "view: two tensors are named '", tensor.name, "'");
      names_.push_back(std::move(tensor.name));
    }
  }

  const std::filesystem::path& path() const override { return file_.path(); }
  const std::string& format() const override { return file_.format(); }
  const std::vector<std::string>& names() const override { return names_; }
  const std::map<std::string, std::string>& metadata() const override { return file_.metadata(); }
  bool contains(std::string_view name) const override { return items_.find(name) != items_.end(); }
  Shape shape(std::string_view name) const override { return item(name).shape; }
  std::string stored_type(std::string_view name) const override {
    const auto& rows = item(name).rows;
    return alike(rows) ? file_.stored_type(rows.front().name) : dtype_name(dtype(name));
  }
  c10::ScalarType dtype(std::string_view name) const override {
    const auto& rows = item(name).rows;
    const auto first = file_.dtype(rows.front().name);
    return std::all_of(rows.begin(), rows.end(), [&](const Rows& part) { return file_.dtype(part.name) == first; }) ? first : c10::kFloat;
  }
  bool quantised(std::string_view name) const override {
    const Item& found = item(name);
    return found.shape.size() == 2 && alike(found.rows) && file_.quantised(found.rows.front().name);
  }
  nn::QuantisedWeight stored(std::string_view name) const override {
    const Item& found = item(name);
    if (found.shape.size() != 2 || !alike(found.rows)) return {.stored = get(name)};
    std::vector<nn::QuantisedWeight> parts;
    for (const auto& part : found.rows) parts.push_back(stored_rows(part));
    nn::QuantisedWeight out = parts.front();
    if (parts.size() == 1) return out;
    std::vector<Tensor> numbers, scales;
    for (const auto& part : parts) {
      numbers.push_back(part.stored);
      if (out.scale.defined()) scales.push_back(part.scale.view({-1, 1}).expand({part.out(), 1}));
    }
    out.stored = joined(numbers);
    if (out.scale.defined()) out.scale = at::cat(scales);
    return out;
  }
  std::vector<std::string_view> mapped(std::string_view name) const override {
    std::vector<std::string_view> out;
    for (const auto& part : item(name).rows)
      for (const auto bytes : file_.mapped(part.name)) {
        const auto shape = file_.shape(part.name);
        const bool whole = part.count < 0 || shape.empty() || shape[0] == 0;
        const size_t row = whole ? bytes.size() : bytes.size() / static_cast<size_t>(shape[0]);
        out.push_back(whole ? bytes : bytes.substr(static_cast<size_t>(part.begin) * row, static_cast<size_t>(part.count) * row));
      }
    return out;
  }
  Tensor get(std::string_view name) const override {
    const Item& found = item(name);
    const auto type = dtype(name);
    std::vector<Tensor> parts;
    for (const auto& part : found.rows) parts.push_back(dense_rows(part).to(type));
    return joined(parts).view(found.shape);
  }

 private:
  struct Item {
    std::vector<Rows> rows;
    Shape shape;
  };

  const Item& item(std::string_view name) const {
    const auto at = items_.find(name);
    if (at == items_.end()) throw_no_tensor(*this, name);
    return at->second;
  }
  bool alike(const std::vector<Rows>& rows) const {
    const auto first = file_.stored_type(rows.front().name);
    return std::all_of(rows.begin(), rows.end(), [&](const Rows& part) { return file_.stored_type(part.name) == first; });
  }
  // A whole tensor that was given another number of axes is a matrix of rows too.
  nn::QuantisedWeight stored_rows(const Rows& part) const {
    nn::QuantisedWeight out =
        file_.shape(part.name).size() == 2 ? file_.stored(part.name) : nn::QuantisedWeight{.stored = file_.get(part.name).flatten(1)};
    out.stored = out.stored.narrow(0, part.begin, part.count);
    if (out.scale.defined() && out.scale.numel() > 1) out.scale = out.scale.narrow(0, part.begin, part.count);
    return out;
  }
  Tensor dense_rows(const Rows& part) const {
    if (part.count < 0) return file_.get(part.name);
    if (file_.quantised(part.name) && file_.shape(part.name).size() == 2) {
      const auto rows = stored_rows(part);
      return rows.format == nullptr && !rows.scale.defined() ? rows.stored : rows.dequantise();
    }
    return file_.get(part.name).narrow(0, part.begin, part.count);
  }

  TensorFile file_;
  std::vector<std::string> names_;
  std::map<std::string, Item, std::less<>> items_;
};

}  // namespace

TensorFile view_of(const TensorFile& file, std::vector<ViewTensor> tensors) {
  return TensorFile(std::make_shared<const View>(file, std::move(tensors)));
}

TensorFile without_prefix(const TensorFile& file, const std::string& prefix) {
  if (prefix.empty()) return file;
  std::vector<ViewTensor> tensors;
  for (const auto& name : file.names())
    if (name.starts_with(prefix)) tensors.push_back({.name = name.substr(prefix.size()), .rows = {{.name = name}}});
  return view_of(file, std::move(tensors));
}

}  // namespace resflow::weights
