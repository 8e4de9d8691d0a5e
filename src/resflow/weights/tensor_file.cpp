#include "resflow/weights/tensor_file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>

#include "resflow/core/device.h"
#include "resflow/core/error.h"
#include "resflow/core/registry.h"
#include "resflow/weights/ggml_quants.h"
#include "resflow/weights/gguf.h"
#include "resflow/weights/mapped_file.h"
#include "resflow/weights/safetensors.h"
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

}  // namespace

struct TensorFile::Contents {
  std::filesystem::path path;
  MappedFile file;
  TensorTable table;
  std::map<std::string, size_t, std::less<>> index;

  explicit Contents(const std::filesystem::path& from) : path(from), file(from, "weights"), table(read_table(from, {file.data(), file.size()})) {
    for (size_t i = 0; i < table.entries.size(); ++i) index.emplace(table.entries[i].name, i);
  }

  const TensorEntry& entry(std::string_view name) const {
    const auto found = index.find(name);
    if (found != index.end()) return table.entries[found->second];
    std::vector<std::string> known;
    for (const auto& e : table.entries) known.push_back(e.name);
    const auto near = nearest_name(name, known);
    throw_user_error({.where = table.format,
                      .problem = fmt::format("{}: no tensor '{}'", path.string(), name),
                      .hint = near.empty() ? "" : fmt::format("Did you mean '{}'?", near)});
  }
};

TensorFile TensorFile::open(const std::filesystem::path& path) { return TensorFile(std::make_shared<const Contents>(path)); }
const std::filesystem::path& TensorFile::path() const { return contents_->path; }
const std::string& TensorFile::format() const { return contents_->table.format; }
bool TensorFile::contains(std::string_view name) const { return contents_->index.find(name) != contents_->index.end(); }
std::vector<int64_t> TensorFile::shape(std::string_view name) const { return contents_->entry(name).shape; }
c10::ScalarType TensorFile::dtype(std::string_view name) const { return contents_->entry(name).dtype; }
std::string TensorFile::stored_type(std::string_view name) const {
  const auto& entry = contents_->entry(name);
  return entry.quantised != nullptr ? std::string(entry.quantised->name) : dtype_name(entry.dtype);
}
const std::map<std::string, std::string>& TensorFile::metadata() const { return contents_->table.metadata; }

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> out;
  for (const auto& entry : contents_->table.entries) out.push_back(entry.name);
  return out;
}

Tensor TensorFile::get(std::string_view name) const {
  const TensorEntry& entry = contents_->entry(name);
  const auto extent = extent_bytes(entry);
  if (extent == 0) return at::empty(entry.shape, entry.dtype);
  char* bytes = contents_->file.data() + entry.begin;
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
        bytes, {count}, [keep = contents_](void*) {}, options);
  } else {
    flat = at::empty({count}, options);
    std::memcpy(flat.data_ptr(), bytes, extent);
  }
  const auto shaped = entry.strides.empty() ? flat.view(entry.shape) : flat.as_strided(entry.shape, entry.strides).contiguous();
  // A bool in memory must be 0 or 1; a file may hold any byte.
  return entry.dtype == c10::kBool ? shaped.ne(0) : shaped;
}

}  // namespace resflow::weights
