// The probe's operations on FLUX with a condition image: the transformer's weights stand under "model.", what a fusion adds under "fusion.", a
// ControlNet's under "control.".
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "resflow/core/config_file.h"
#include "resflow/models/fusion/flux_fusion.h"
#include "resflow/weights/load.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::probe {

using weights::TensorFile;
using Outputs = std::vector<std::pair<std::string, Tensor>>;

inline int64_t number(const TensorFile& in, const char* name) { return std::stoll(in.metadata().at(name)); }
inline Tensor optional(const TensorFile& in, const char* name) { return in.contains(name) ? in.get(name) : Tensor(); }

template <class Config>
Config config_of(const TensorFile& in, const char* name) {
  Config config;
  config_from_json(config, Json::parse(in.metadata().at(name)), name);
  return config;
}

inline models::FluxInput flux_input(const TensorFile& in) {
  models::FluxInput input;
  input.hidden_states = in.get("hidden_states");
  input.encoder_hidden_states = in.get("encoder_hidden_states");
  input.pooled = in.get("pooled");
  input.timestep = in.get("timestep");
  input.img_ids = in.get("img_ids");
  input.txt_ids = in.get("txt_ids");
  input.guidance = optional(in, "guidance");
  return input;
}

// "out"; with cached = 1 the condition is prepared once before. With a "target", the loss |out - target|^2 and its gradients, "grad.NAME", computed
// with checkpoint = 1 from the blocks' inputs alone.
inline Outputs fusion(const TensorFile& in) {
  models::FluxTransformer model(config_of<models::FluxConfig>(in, "config"));
  weights::load_strict(model, in, "model.");
  models::FluxFusion fused(model, config_of<models::FusionConfig>(in, "fusion"));
  weights::load_strict(fused, in, "fusion.");
  const bool trains = in.contains("target");
  if (trains) fused.requires_grad(true);
  fused.attach();
  at::AutoGradMode gradients(trains);

  models::FluxInput input = flux_input(in);
  input.checkpoint = number(in, "checkpoint") != 0;
  const Tensor tokens = in.get("condition");
  const int64_t rows = number(in, "rows"), columns = number(in, "columns");
  const auto condition = number(in, "cached") != 0 ? fused.prepare(tokens, rows, columns, input.pooled.narrow(0, 0, tokens.size(0)))
                                                   : fused.condition(tokens, rows, columns);
  Outputs out = {{"out", fused.forward(input, condition)}, {"condition_ids", condition.ids}};
  if (!trains) return out;
  const Tensor loss = at::mse_loss(out[0].second, in.get("target"));
  std::vector<Tensor> parameters;
  for (const auto& tensor : fused.named_parameters()) parameters.push_back(*tensor.slot);
  const auto found = torch::autograd::grad({loss}, parameters, {}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
  for (size_t i = 0; i < found.size(); ++i)
    out.emplace_back("grad." + fused.named_parameters()[i].name, found[i].defined() ? found[i] : at::zeros_like(parameters[i]));
  out.emplace_back("loss", loss);
  for (auto& [name, tensor] : out) tensor = tensor.detach();
  return out;
}

// A ControlNet's samples, and what the transformer makes of them.
inline Outputs control_net(const TensorFile& in) {
  models::FluxTransformer model(config_of<models::FluxConfig>(in, "config"));
  weights::load_strict(model, in, "model.");
  models::FluxControlNet control(config_of<models::FluxControlConfig>(in, "control"));
  weights::load_strict(control, in, "control.");
  models::FluxInput input = flux_input(in);
  input.residuals = control.forward(input, in.get("hint"), std::stod(in.metadata().at("scale")), optional(in, "mode"));
  Outputs out = {{"out", model.forward(input)}};
  for (size_t i = 0; i < input.residuals.double_blocks.size(); ++i) out.emplace_back("double." + std::to_string(i), input.residuals.double_blocks[i]);
  for (size_t i = 0; i < input.residuals.single_blocks.size(); ++i) out.emplace_back("single." + std::to_string(i), input.residuals.single_blocks[i]);
  return out;
}

// How many parameters a fusion trains of a transformer that is not loaded.
inline Outputs fusion_count(const TensorFile& in) {
  models::FluxTransformer model(config_of<models::FluxConfig>(in, "config"));
  models::FluxFusion fused(model, config_of<models::FusionConfig>(in, "fusion"));
  return {{"parameters", at::scalar_tensor(fused.parameter_count(), at::kLong)}};
}

}  // namespace resflow::probe
