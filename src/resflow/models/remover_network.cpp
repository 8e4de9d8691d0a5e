#include "resflow/models/remover_network.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "resflow/core/error.h"
#include "resflow/models/esrgan/rrdb_net.h"
#include "resflow/models/esrgan/srvgg_net.h"
#include "resflow/models/swinir/swin_ir.h"
#include "resflow/weights/load.h"

namespace resflow::models {
namespace {

struct Found {
  std::unique_ptr<RemoverNetwork> network;
  weights::TensorFile tensors;
};

Found empty_network(const weights::TensorFile& file) {
  if (const auto config = rrdb_config(file)) return {std::make_unique<RrdbNet>(*config), file};
  if (const auto config = srvgg_config(file)) return {std::make_unique<SrvggNet>(*config), file};
  const auto swin = swin_ir_tensors(file);
  if (const auto config = swin_ir_config(swin)) return {std::make_unique<SwinIr>(*config), swin};
  const auto names = file.names();
  std::string first;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 3); ++i) first += (i > 0 ? ", " : "") + names[i];
  const bool old = file.contains("model.0.weight") || file.contains("RRDB_trunk.0.RDB1.conv1.weight");
  throw_user_error(
      {.where = "dr-file",
       .problem = file.path().string() + ": not a network of Real-ESRGAN, and no SwinIR",
       .wanted = "RRDBNet (conv_first.weight, body.0.rdb1.conv1.weight, ...), SRVGGNetCompact (body.0.weight, body.1.weight, ...) or "
                 "SwinIR (layers.0.residual_group.blocks.0.attn.qkv.weight, ...)",
       .got = first.empty() ? "no tensors" : first + (names.size() > 3 ? ", ..." : ""),
       .hint = old ? "This is ESRGAN's old naming; its authors have a script that converts it" : "`resflow inspect` tells what the file is"});
}

}  // namespace

std::unique_ptr<RemoverNetwork> load_remover_network(const weights::TensorFile& file, c10::Device device, c10::ScalarType dtype) {
  auto [network, tensors] = empty_network(file);
  weights::load_strict(*network, tensors, "", {.dtype = dtype, .device = device});
  for (const auto& parameter : network->named_parameters())
    if (parameter.slot->dim() == 4) *parameter.slot = parameter.slot->contiguous(at::MemoryFormat::ChannelsLast);
  return std::move(network);
}

}  // namespace resflow::models
