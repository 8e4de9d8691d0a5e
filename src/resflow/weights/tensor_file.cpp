#include "resflow/weights/tensor_file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>

#include "resflow/core/device.h"
#include "resflow/core/error.h"
#include "resflow/core/registry.h"
#include "resflow/weights/gguf.h"
#include "resflow/weights/mapped_file.h"
#include "resflow/weights/safetensors.h"
#include "resflow/weights/scales.h"
#include "resflow/weights/shards.h"
#include "resflow/weights/tensor_source.h"
#include "resflow/weights/tensor_table.h"
#include "resflow/weights/torch_checkpoint.h"

namespace resflow::weights {
namespace {

TensorTable read_table(const std::filesystem::path& path, std::string_view bytes) {
  if (is_gguf(bytes)) return read_gguf(path, bytes);
  return is_torch_checkpoint(bytes) ? read_torch_checkpoint(path, bytes) : read_safetensors(path, bytes);
}

// The elements from `begin` to the last, both included. A table's sizes and strides are known to fit.
uint64_t extent_bytes(const TensorEntry& entry) {
  uint64_t last = 0, count = 1;
  for (size_t i = 0; i < entry.shape.size(); ++i) {
    const auto size = static_cast<uint64_t>(entry.shape[i]);
    if (size == 0) return 0;
    if (!entry.strides.empty()) last += (size - 1) * static_cast<uint64_t>(entry.strides[i]);
    count *= size;
  }
  return (entry.strides.empty() ? count : last + 1) * c10::elementSize(entry.dtype);
}

// One file on the disk.
class OneFile final : public TensorSource, public std::enable_shared_from_this<OneFile> {
 public:
  explicit OneFile(const std::filesystem::path& path) : path_(path), file_(path, "weights"), table_(read_table(path, {file_.data(), file_.size()})) {
    for (size_t i = 0; i < table_.entries.size(); ++i) {
      names_.push_back(table_.entries[i].name);
      index_.emplace(names_.back(), i);
    }
  }

  const std::filesystem::path& path() const override { return path_; }
  const std::string& format() const override { return table_.format; }
  const std::vector<std::string>& names() const override { return names_; }
  const std::map<std::string, std::string>& metadata() const override { return table_.metadata; }
  bool contains(std::string_view name) const override { return index_.find(name) != index_.end(); }
  std::vector<int64_t> shape(std::string_view name) const override { return entry(name).shape; }
  c10::ScalarType dtype(std::string_view name) const override { return entry(name).dtype; }
  std::string stored_type(std::string_view name) const override {
    const auto& found = entry(name);
    return found.quantised != nullptr ? std::string(found.quantised->name) : dtype_name(found.dtype);
  }
  Tensor get(std::string_view name) const override;
  bool quantised(std::string_view name) const override { return entry(name).quantised != nullptr || at::isFloat8Type(entry(name).dtype); }
  nn::QuantisedWeight stored(std::string_view name) const override;
  std::vector<std::string_view> mapped(std::string_view name) const override {
    const TensorEntry& found = entry(name);
    const auto blocks = [&] { return c10::multiply_integers(found.shape) / found.quantised->block * found.quantised->bytes; };
    const uint64_t bytes = found.quantised != nullptr ? static_cast<uint64_t>(blocks()) : extent_bytes(found);
    return {{file_.data() + found.begin, bytes}};
  }

 private:
  const TensorEntry& entry(std::string_view name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) throw_no_tensor(*this, name);
    return table_.entries[found->second];
  }

  std::filesystem::path path_;
  MappedFile file_;
  TensorTable table_;
  std::vector<std::string> names_;
  std::map<std::string, size_t, std::less<>> index_;
};

Tensor OneFile::get(std::string_view name) const {
  const TensorEntry& entry = this->entry(name);
  const auto extent = extent_bytes(entry);
  if (extent == 0) return at::empty(entry.shape, entry.dtype);
  char* bytes = file_.data() + entry.begin;
  if (entry.quantised != nullptr) {
    const Tensor out = at::empty(entry.shape, at::kFloat);
    dequantise(*entry.quantised, reinterpret_cast<const unsigned char*>(bytes), out.numel() / entry.quantised->block, out.data_ptr<float>());
    return out;
  }
  const auto options = at::TensorOptions().dtype(entry.dtype == c10::kBool ? c10::kByte : entry.dtype);
  Tensor flat;  // all between the first element and the last
  const auto count = static_cast<int64_t>(extent / c10::elementSize(entry.dtype));
  if (reinterpret_cast<uintptr_t>(bytes) % c10::elementSize(entry.dtype) == 0) {
    flat = at::from_blob(
        bytes, {count}, [keep = shared_from_this()](void*) {}, options);
  } else {
    flat = at::empty({count}, options);
    std::memcpy(flat.data_ptr(), bytes, extent);
  }
  const auto shaped = entry.strides.empty() ? flat.view(entry.shape) : flat.as_strided(entry.shape, entry.strides).contiguous();
  // A bool in memory must be 0 or 1; a file may hold any byte.
  return entry.dtype == c10::kBool ? shaped.ne(0) : shaped;
}

nn::QuantisedWeight OneFile::stored(std::string_view name) const {
  const TensorEntry& entry = this->entry(name);
  // Rows that share a block are taken apart.
  if (entry.quantised == nullptr || entry.shape[1] % entry.quantised->block != 0) return {.stored = get(name)};
  const int64_t rows = entry.shape[0], bytes = entry.shape[1] / entry.quantised->block * entry.quantised->bytes;
  if (rows == 0) return {.stored = at::empty({0, bytes}, at::kByte), .format = entry.quantised};
  return {.stored = at::from_blob(
              file_.data() + entry.begin, {rows, bytes}, [keep = shared_from_this()](void*) {}, at::kByte),
          .format = entry.quantised};
}

}  // namespace

void throw_no_tensor(const TensorSource& source, std::string_view name) {
  const auto near = nearest_name(name, source.names());
  throw_user_error({.where = source.format(),
                    .problem = fmt::format("{}: no tensor '{}'", source.path().string(), name),
                    .hint = near.empty() ? "" : fmt::format("Did you mean '{}'?", near)});
}

TensorFile TensorFile::open(const std::filesystem::path& path) {
  const auto found = weights_at(path);
  return TensorFile(is_shard_index(found) ? open_shards(found) : with_scales(std::make_shared<const OneFile>(found)));
}

const std::filesystem::path& TensorFile::path() const { return source_->path(); }
const std::string& TensorFile::format() const { return source_->format(); }
std::vector<std::string> TensorFile::names() const { return source_->names(); }
bool TensorFile::contains(std::string_view name) const { return source_->contains(name); }
std::vector<int64_t> TensorFile::shape(std::string_view name) const { return source_->shape(name); }
c10::ScalarType TensorFile::dtype(std::string_view name) const { return source_->dtype(name); }
std::string TensorFile::stored_type(std::string_view name) const { return source_->stored_type(name); }
const std::map<std::string, std::string>& TensorFile::metadata() const { return source_->metadata(); }
Tensor TensorFile::get(std::string_view name) const { return source_->get(name); }
bool TensorFile::quantised(std::string_view name) const { return source_->quantised(name); }
std::vector<std::string_view> TensorFile::mapped(std::string_view name) const { return source_->mapped(name); }
nn::QuantisedWeight TensorFile::stored(std::string_view name) const {
  TORCH_CHECK(shape(name).size() == 2, "stored: '", std::string(name), "' is not a matrix");
  return source_->stored(name);
}

}  // namespace resflow::weights
