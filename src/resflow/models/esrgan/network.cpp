#include "resflow/models/esrgan/network.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/error.h"
#include "resflow/models/esrgan/rrdb_net.h"
#include "resflow/models/esrgan/srvgg_net.h"
#include "resflow/weights/load.h"

namespace resflow::models {
namespace {

std::unique_ptr<EsrganNetwork> empty_network(const weights::TensorFile& file) {
  if (const auto config = rrdb_config(file)) return std::make_unique<RrdbNet>(*config);
  if (const auto config = srvgg_config(file)) return std::make_unique<SrvggNet>(*config);
  const auto names = file.names();
  std::string first;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 3); ++i) first += (i > 0 ? ", " : "") + names[i];
  const bool old = file.contains("model.0.weight") || file.contains("RRDB_trunk.0.RDB1.conv1.weight");
  throw_user_error(
      {.where = "real-esrgan",
       .problem = file.path().string() + ": not a network of Real-ESRGAN",
       .wanted = "RRDBNet (conv_first.weight, body.0.rdb1.conv1.weight, ...) or SRVGGNetCompact (body.0.weight, body.1.weight, ...)",
       .got = first.empty() ? "no tensors" : first + (names.size() > 3 ? ", ..." : ""),
       .hint = old ? "This is ESRGAN's old naming; its authors have a script that converts it" : "`resflow inspect` tells what the file is"});
}

}  // namespace

std::unique_ptr<EsrganNetwork> load_esrgan(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype) {
  auto network = empty_network(file);
  weights::load_strict(*network, file, "", {.dtype = dtype, .device = device});
  for (const auto& parameter : network->named_parameters())
    if (parameter.slot->dim() == 4) *parameter.slot = parameter.slot->contiguous(at::MemoryFormat::ChannelsLast);
  return network;
}

}  // namespace resflow::models
