#include "resflow/models/flux/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace resflow::models {

void FluxConfig::check(const std::string& where) const {
  const bool even = std::all_of(axes_dims_rope.begin(), axes_dims_rope.end(), [](int64_t dim) { return dim > 0 && dim % 2 == 0; });
  if (!even || std::accumulate(axes_dims_rope.begin(), axes_dims_rope.end(), int64_t{0}) != attention_head_dim)
    throw_user_error({.where = where,
                      .problem = "axes_dims_rope does not fit attention_head_dim",
                      .wanted = fmt::format("even numbers whose sum is {}", attention_head_dim),
                      .got = fmt::format("[{}]", fmt::join(axes_dims_rope, ", "))});
}

}  // namespace resflow::models
