// The running estimate of a whole picture, small: what is not yet made shows the source.
#pragma once

#include <filesystem>

#include "resflow/image/resize.h"
#include "resflow/restore/restorer.h"

namespace resflow::server {

class Preview {
 public:
  // source [3, h, w]; result: its size, which the parts refer to.
  Preview(const Tensor& source, restore::Size result);

  void show(const image::Region& part, const Tensor& image);  // [3, h, w], 0..1
  void write(const std::filesystem::path& file) const;        // JPEG

 private:
  restore::Size result_;
  Tensor canvas_;  // [3, H, W], at most kSide on a side
};

}  // namespace resflow::server
