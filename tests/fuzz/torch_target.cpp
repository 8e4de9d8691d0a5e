// PyTorch's checkpoints: zip archives and the old format, and the pickles in them, whatever bytes they hold.
#include "target.h"

using namespace resflow;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto path = fuzz::file_of(data, size);
  return fuzz::run([&] { fuzz::read_tensors(path); });
}
