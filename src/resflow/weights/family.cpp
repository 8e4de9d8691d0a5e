#include "resflow/weights/family.h"

#include <algorithm>
#include <array>
#include <string>

namespace resflow::weights {
namespace {

// A file is of a family where a name ends with `mark` (after any prefix), a name contains `also`, and none contains `never`.
struct Rule {
  Family family;
  std::string_view mark, also = "", never = "";
};

constexpr std::string_view kNone = "no command yet";
constexpr std::string_view kFlux = "`resflow generate`, `resflow restore --model` (docs/flux.md), `resflow convert` (docs/weights-files.md)";
constexpr std::string_view kText = "`resflow generate`, `resflow restore` (docs/flux.md)";
constexpr std::string_view kLora = "`resflow generate --lora`, `resflow restore --adapter` or `--lora` (docs/lora.md)";
constexpr std::string_view kControl = "`resflow generate --control`, `resflow restore --control` (docs/flux.md), `resflow convert` (docs/fusion.md)";
constexpr std::string_view kReward = "a judge of `resflow restore --search` (docs/rewards.md)";
constexpr std::string_view kMetric = "a measure of `resflow eval` (docs/metrics.md)";

constexpr std::string_view kSwinIr = "`resflow restore --dr-file` (docs/swinir.md)";
constexpr std::string_view kRemover = "`resflow restore --dr-file` (docs/real-esrgan.md)";

constexpr std::array<Rule, 28> kRules = {{
    {{"compact", "the compact model", "`resflow restore --model`"}, "flow.conv_out.weight", "dr."},
    {{"compact-part", "the compact model's degradation remover alone", "`resflow merge`, `resflow train`"}, "dr.blocks.0.conv1.weight", "", "flow."},
    {{"compact-part", "the compact model's flow alone", "`resflow merge`, `resflow train --init-from`"}, "flow.conv_out.weight", "", "dr."},
    {{"resflow-shard", "pictures to train on", "`resflow train`"}, ""},  // by its metadata
    {{"flux-transformer", "FLUX's transformer, diffusers' naming", kFlux}, "single_transformer_blocks.0.attn.to_q.weight", "", "lora"},
    {{"flux-transformer", "FLUX's transformer, BFL's naming", kFlux}, "double_blocks.0.img_attn.qkv.weight", "single_blocks.", "lora"},
    {{"flux-controlnet", "a ControlNet for FLUX, diffusers' naming", kControl}, "controlnet_blocks.0.weight", "transformer_blocks."},
    {{"flux-controlnet", "a ControlNet for FLUX, x-labs' naming", kControl}, "controlnet_blocks.0.weight", "double_blocks."},
    {{"t5-encoder", "T5's encoder, transformers' naming", kText}, "encoder.block.0.layer.0.SelfAttention.q.weight"},
    {{"t5-encoder", "T5's encoder, llama.cpp's naming", kText}, "enc.blk.0.attn_q.weight"},
    {{"clip", "CLIP, both towers", kReward}, "text_model.encoder.layers.0.mlp.fc1.weight", "vision_model."},
    {{"clip-text", "CLIP's text tower", kText}, "text_model.encoder.layers.0.mlp.fc1.weight", "", "vision_model."},
    // transformers 5 saves a tower that is alone without "text_model." or "vision_model.".
    {{"clip-text", "CLIP's text tower, transformers 5's naming", kText},
     "embeddings.token_embedding.weight",
     "encoder.layers.0.mlp.fc1.",
     "text_model."},
    {{"clip-vision", "CLIP's vision tower", kNone}, "embeddings.class_embedding", "pre_layrnorm.", "text_model."},
    {{"clip", "CLIP, OpenAI's naming", kReward}, "visual.conv1.weight", "transformer.resblocks."},
    {{"autoencoder", "AutoencoderKL, diffusers' naming", kFlux}, "decoder.up_blocks.0.resnets.0.conv1.weight"},
    {{"autoencoder", "AutoencoderKL, BFL's naming", kFlux}, "decoder.up.0.block.0.conv1.weight"},
    {{"autoencoder-tiny", "AutoencoderTiny (TAEF1)", "`resflow restore --preview-vae` (docs/flux.md)"},
     "decoder.layers.0.weight",
     "encoder.layers.",
     "text_model"},
    {{"lora", "a LoRA, PEFT's naming", kLora}, ".lora_A.weight", "", "qkv.lora_A"},
    {{"lora", "a LoRA, kohya's naming", kLora}, ".lora_down.weight", "lora_"},
    {{"lora", "a LoRA, x-labs' naming", kLora}, ".down.weight", "processor.qkv_lora"},
    {{"lora", "a LoRA, BFL's naming", kLora}, ".lora_A.weight", "qkv.lora_A"},
    {{"image-reward", "ImageReward", kReward}, "blip.visual_encoder.blocks.0.attn.qkv.weight"},
    {{"esrgan", "RRDBNet (Real-ESRGAN)", kRemover}, "body.0.rdb1.conv1.weight"},
    {{"esrgan", "SRVGGNetCompact (Real-ESRGAN)", kRemover}, "body.0.weight", "body.1.weight", "body.1.bias"},
    {{"swinir", "SwinIR", kSwinIr}, "layers.0.residual_group.blocks.0.attn.qkv.weight"},
    {{"lpips", "LPIPS' linear heads", kMetric}, "lin0.model.1.weight"},
    {{"efficientnet-lite", "a network of the trainer's feature loss", "`feature_network` of `resflow train`"},
     "blocks.1.depthwise.weight",
     "blocks.1.expand"},
}};

}  // namespace

std::vector<Family> families_of(const TensorFile& file) {
  const auto names = file.names();
  const auto any = [&](const auto& wanted) { return std::any_of(names.begin(), names.end(), wanted); };
  const auto contains = [&](std::string_view part) { return any([&](const std::string& name) { return name.find(part) != std::string::npos; }); };
  // At the start, or after a prefix's dot; a mark that begins with a dot may stand after anything.
  const auto marked = [&](std::string_view mark) {
    return any([&](const std::string& name) {
      if (!name.ends_with(mark)) return false;
      return mark.starts_with('.') || name.size() == mark.size() || name[name.size() - mark.size() - 1] == '.';
    });
  };
  std::vector<Family> out;
  for (const auto& rule : kRules) {
    const bool found = rule.family.name == "resflow-shard"
                           ? file.metadata().contains("kind") && file.metadata().at("kind") == "resflow shard"
                           : marked(rule.mark) && (rule.also.empty() || contains(rule.also)) && (rule.never.empty() || !contains(rule.never));
    if (found) out.push_back(rule.family);
  }
  return out;
}

}  // namespace resflow::weights
