// Tensors of a file under other names: renamed, cut into rows, put one below the other. What one program stores fused and another apart is read
// and written through this, without a copy of the weights.
#pragma once

#include <string>
#include <vector>

#include "resflow/weights/tensor_file.h"

namespace resflow::weights {

// Rows (along the first axis) of a tensor of the file.
struct Rows {
  std::string name;
  int64_t begin = 0;
  int64_t count = -1;  // -1: to the last
};

struct ViewTensor {
  std::string name;
  std::vector<Rows> rows;  // one below the other; one or more
  int64_t axes = -1;       // last axes of size 1 are added or dropped until there are so many: a convolution of 1 x 1 is a linear map. -1: as it is
};

// Path, format and metadata stay the file's. What is rows of one tensor is a view of the file as that tensor is, blocks and float8 too; rows of
// several are joined when asked for. Throws UserError where a tensor is absent or the shapes do not fit.
TensorFile view_of(const TensorFile& file, std::vector<ViewTensor> tensors);

// The tensors whose names begin with `prefix`, without it.
TensorFile without_prefix(const TensorFile& file, const std::string& prefix);

}  // namespace resflow::weights
