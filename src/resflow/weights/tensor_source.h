// What stands behind a TensorFile: one file, the shards of a model, or other tensors seen under names of their own. Internal to weights/.
#pragma once

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// Each function means what TensorFile's of that name means; a name that is not there is a UserError (throw_no_tensor). Tensors that get() hands
// out keep alive what they view.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const std::filesystem::path& path() const = 0;
  virtual const std::string& format() const = 0;
  virtual const std::vector<std::string>& names() const = 0;
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  virtual bool contains(std::string_view name) const = 0;
  virtual std::vector<int64_t> shape(std::string_view name) const = 0;
  virtual c10::ScalarType dtype(std::string_view name) const = 0;
  virtual std::string stored_type(std::string_view name) const = 0;
  virtual Tensor get(std::string_view name) const = 0;
  virtual bool quantised(std::string_view name) const { return c10::isFloat8Type(dtype(name)); }
  virtual nn::QuantisedWeight stored(std::string_view name) const { return {.stored = get(name)}; }
  virtual std::vector<std::string_view> mapped(std::string_view) const { return {}; }
};

// "[safetensors] FILE: no tensor 'x'. Did you mean 'y'?"
[[noreturn]] void throw_no_tensor(const TensorSource& source, std::string_view name);

}  // namespace resflow::weights
