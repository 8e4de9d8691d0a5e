// What training a fusion for FLUX needs of memory.
#include <filesystem>

#include "resflow/core/device.h"
#include "resflow/train/flux_objective.h"
#include "resflow/train/flux_trainer.h"

namespace resflow::train {
namespace {

// What autograd keeps of a token in one block, in values of a token's width D (M = 4 D): inputs of norms and linear maps, q, k and v before and after
// their norm and rope, which work in float32, and the network's middle twice.
constexpr int64_t kKeptOfBlock = 48;

}  // namespace

Json flux_need(const TrainOptions& options, const FluxNeed& size) {
  const auto shape = flux_shape(options, true);
  models::FluxTransformer transformer(shape);
  models::FluxFusion fusion(transformer, options.fusion);
  const int64_t frozen = transformer.parameter_count(), trained = fusion.parameter_count();

  const bool wide = options.dtype == "f32" || (options.dtype == "auto" && parse_dtype("auto", parse_device(options.device)) == at::kFloat);
  const int64_t value = wide ? 4 : 2;
  const bool sequence = options.fusion.fusion == "sequence";
  const int64_t condition = sequence ? options.fusion.pictures() * size.image_tokens : 0;
  const int64_t tokens = options.batch * (size.text_tokens + size.image_tokens + condition), width = shape.width();
  const int64_t blocks = shape.num_layers + shape.num_single_layers +
                         (options.fusion.fusion == "controlnet" ? options.fusion.control_layers + options.fusion.control_single_layers : 0);
  const int64_t block = tokens * width * kKeptOfBlock * value;
  const int64_t activations = options.flux.checkpoint ? blocks * tokens * width * value + block : blocks * block;
  // Weights, moving average, both moments and the gradient; a second one while batches are summed. Prodigy: also its sum and the first weights.
  const int64_t state = trained * 4 * ((options.flux.accumulate > 1 ? 6 : 5) + (options.flux.optimizer == "prodigy" ? 2 : 0));
  const bool there = !options.flux.model.empty() && std::filesystem::exists(options.flux.model);
  return {{"shape", there ? options.flux.model : "FLUX.1-dev"},
          {"fusion", options.fusion.fusion},
          {"trainable_parameters", trained},
          {"frozen_parameters", frozen},
          {"trainable_tensors", static_cast<int64_t>(fusion.named_parameters().size())},
          {"tokens", {{"image", size.image_tokens}, {"condition", condition}, {"text", size.text_tokens}}},
          {"batch", options.batch},
          {"checkpoint", options.flux.checkpoint},
          {"bytes",
           {{"frozen_weights", frozen * value},
            {"training_state", state},
            {"activations_estimate", activations},
            {"total_estimate", frozen * value + state + activations}}}};
}

}  // namespace resflow::train
