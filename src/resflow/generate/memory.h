// What a generation needs of memory, found before it starts from the headers of the files and the shapes of the network; and which of its parts are
// in memory at a time.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/generate/options.h"
#include "resflow/generate/plan.h"

namespace resflow::generate {

// From the most memory and the least work to the opposite. The picture is the same.
//   none    Every part stays once it has been used; on a CPU the transformer's matrices are widened once.
//   text    The text encoders are freed when they have been used.
//   stream  And the transformer's blocks (T5's too) come to the device one at a time, the next one on its way meanwhile. On a CPU matrices stay as
//   the
//           file has them, and are widened for each use.
enum class Offload { none, text, stream };
std::string offload_name(Offload mode);
Offload offload_of(const std::string& name);  // one of MemoryOptions' names but "auto"

struct MemoryOptions {
  std::string offload = "auto";
  std::string max_vram;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("offload", o.offload,
          "What is kept in memory: all that was loaded (none), all but the text encoders (text), or a block of the transformer at a time (stream); "
          "auto = the first of the last two that fits, on a CPU stream",
          OneOf{{"auto", "none", "text", "stream"}});
    visit("max_vram", o.max_vram, "Most memory to take, as in 12G: of the GPU, or on a CPU anonymous memory; empty = what is free");
  }
};

// What is to be made, as far as memory goes.
struct Work {
  Size size, reference;  // as planned; reference 0 x 0: none
  bool image = false;    // whether one of that size is encoded
  int64_t max_sequence_length = 512;
  int64_t batch = 1;   // samples in one pass of the transformer, decoded one at a time
  int64_t beside = 0;  // bytes held where it computes while it denoises: a condition's keys and values, a ControlNet
};

struct PartNeed {
  std::string name;  // "transformer", "text_encoder_2", ..., "lora"
  std::filesystem::path path;
  int64_t parameters = 0, bytes = 0;     // of the file
  std::map<std::string, int64_t> types;  // as stored -> parameters
};

// All that is in memory at once, in bytes.
struct Bytes {
  int64_t anonymous = 0;  // of this process: what it allocates
  int64_t mapped = 0;     // of files; the kernel takes these pages back when memory is short
  int64_t device = 0;     // on a GPU, as its allocator counts them, without CUDA's own
};

struct ModeNeed {
  Offload mode;
  std::vector<std::pair<std::string, Bytes>> stages;  // in their order; the most while each one runs
  Bytes peak() const;                                 // of each number by itself
};

struct Needs {
  c10::Device device;
  c10::ScalarType dtype;
  std::vector<PartNeed> parts;
  std::vector<ModeNeed> modes;  // none, text, stream

  const ModeNeed& mode(Offload wanted) const { return modes.at(static_cast<size_t>(wanted)); }
  // What is scarce there: device memory, or on a CPU anonymous memory.
  int64_t scarce(Offload wanted) const;
};

// Reads configurations and headers; no weight is read. The device need not be there. Throws UserError as Generator does.
Needs needs_of(const ModelOptions& model, const Work& work, c10::Device device);

struct Decision {
  Offload mode;
  int64_t needed = 0;  // scarce bytes
  int64_t limit = -1;  // what there is of them; -1: not known
  bool fits() const { return limit < 0 || needed <= limit; }
};

// available: free bytes of the device's memory, or available_memory(); -1: not known. Throws UserError where `max_vram` is less than what is needed.
Decision decide(const Needs& needs, const MemoryOptions& options, int64_t available);
// Free bytes of that device's memory; -1 where there is no such device.
int64_t free_memory(c10::Device device);

Json needs_json(const Needs& needs, const Decision& decision);

}  // namespace resflow::generate
