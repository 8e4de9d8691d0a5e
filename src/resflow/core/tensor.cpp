#include "resflow/core/tensor.h"

#include <cctype>
#include <map>
#include <sstream>
#include <string>

namespace resflow {

void check_shape(const Tensor& tensor, std::string_view spec, std::string_view what) {
  std::istringstream words{std::string(spec)};
  std::map<std::string, int64_t> named;
  std::string word;
  int64_t axis = 0;
  bool good = tensor.defined();
  for (; good && words >> word; ++axis) {
    if (axis >= tensor.dim()) {
      good = false;
    } else if (std::isdigit(static_cast<unsigned char>(word[0])) != 0) {
      good = tensor.size(axis) == std::stoll(word);
    } else {
      good = named.emplace(word, tensor.size(axis)).first->second == tensor.size(axis);
    }
  }
  TORCH_CHECK(good && axis == tensor.dim(), what, ": wanted shape [", spec, "], got ",
              tensor.defined() ? c10::str(tensor.sizes()) : std::string("an undefined tensor"));
}

}  // namespace resflow
