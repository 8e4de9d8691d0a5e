// GGUF files, their key-value pairs too, whatever bytes they hold.
#include "resflow/weights/gguf.h"

#include "target.h"

using namespace resflow;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto path = fuzz::file_of(data, size);
  fuzz::run([&] { weights::read_gguf_metadata(path); });
  return fuzz::run([&] { fuzz::read_tensors(path); });
}
