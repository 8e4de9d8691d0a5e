// PyTorch's own files: what torch.save writes since 1.6 (a zip archive: data.pkl and a file a storage) and wrote before (pickles, then the
// storages), and TorchScript archives. torch/serialization.py and torch/csrc/jit/serialization of PyTorch define them.
#pragma once

#include <filesystem>
#include <string_view>

#include "resflow/weights/tensor_table.h"

namespace resflow::weights {

// By the first bytes: a zip archive, or the number that the old format begins with.
bool is_torch_checkpoint(std::string_view bytes);

// The tensors of a state dict; of a checkpoint that holds one under "params_ema", "params", "state_dict" or "model", in this order, the
// names below that key; of a TorchScript module, the parameters and buffers by their path ("visual.conv1.weight"). Plain values beside
// the tensors are passed over. Strided tensors, and those that share a storage, are entries like any other; on which device they were
// does not matter. `path` is for the messages. Throws UserError for anything else: whole Python objects (named), sparse or quantised
// tensors, compressed archives, big-endian machines' files, files cut short, and tensors that reach outside their storage.
TensorTable read_torch_checkpoint(const std::filesystem::path& path, std::string_view bytes);

}  // namespace resflow::weights
