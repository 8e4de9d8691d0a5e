// From the values of a checkpoint's pickle to tensors by name. The pickle names a storage by an id; the file's format says where it lies.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "resflow/weights/pickle.h"
#include "resflow/weights/tensor_table.h"

namespace resflow::weights {

// The globals that a state dict of plain tensors names, and those of a TorchScript module besides.
bool is_tensor_global(std::string_view name);
bool is_script_global(std::string_view name);

// ('storage', torch.FloatStorage, key, device, number of elements[, view])
struct StorageId {
  std::string key;
  c10::ScalarType dtype = c10::kFloat;
  int64_t count = 0;   // elements of the whole storage; count times the element's size fits 63 bits
  int64_t offset = 0;  // elements before the part that is meant: 0 but in very old files
};
// value: of kind persistent. `file` begins the messages. Throws UserError.
StorageId read_storage_id(const PickleValue& value, const std::string& file);

struct StoragePlace {
  uint64_t begin = 0, size = 0;  // bytes of the file
};
using StoragePlaces = std::map<std::string, StoragePlace, std::less<>>;

// The tensors that torch_checkpoint.h promises of a pickle's root. Throws UserError.
TensorTable read_tensors(const PickleValue& root, const StoragePlaces& places, const std::string& file);

}  // namespace resflow::weights
