#include "resflow/restore/condition_files.h"

#include <fmt/format.h>

#include "resflow/core/error.h"
#include "resflow/models/fusion/export.h"
#include "resflow/weights/hub_cache.h"

namespace resflow::restore {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdapter = "adapter.safetensors";

[[noreturn]] void fail(const std::string& where, const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                       const std::string& hint = "") {
  throw_user_error({.where = where, .problem = problem, .wanted = wanted, .got = got, .hint = hint});
}

fs::path control_path(const std::string& name) {
  if (fs::exists(name)) {
    const fs::path inside = fs::path(name) / "controlnet";  // a run's folder
    return fs::is_directory(inside) ? inside : fs::path(name);
  }
  if (weights::is_hub_name(name)) return weights::find_in_hub_cache(name).folder;
  fail("--control", "no such file or folder", "a ControlNet's file or folder, or ORG/NAME in Hugging Face's cache", name);
}

void check_mode(const models::FluxControlConfig& config, int64_t mode) {
  if (config.num_mode == 0 && mode >= 0)
    fail("--control-mode", "this ControlNet knows one kind of control", "no --control-mode", std::to_string(mode));
  if (config.num_mode > 0 && (mode < 0 || mode >= config.num_mode))
    fail("--control-mode", "this ControlNet is a union of several: which kind is it shown?", fmt::format("0 to {}", config.num_mode - 1),
         std::to_string(mode), "Its model card lists them; for pictures to restore \"tile\" or \"low quality\"");
}

ConditionFiles open_control(const FluxOptions& options) {
  if (options.control.empty()) fail("--control", "no ControlNet is named", "a ControlNet's file or folder", "nothing");
  if (!options.adapter.empty()) fail("--adapter", "an adapter together with a ControlNet", "", "", "Give one or the other");
  ConditionFiles out;
  out.control = models::open_flux_control(control_path(options.control));
  check_mode(out.control->config, options.control_mode);
  out.fusion.fusion = "controlnet";
  return out;
}

std::string attention_of(const FluxOptions& options, const std::optional<models::FusionConfig>& recorded, const weights::TensorFile& adapter) {
  if (options.condition_attention != "auto") return options.condition_attention;
  if (recorded) return recorded->condition_attention;
  return adapter.metadata().contains("resflow.version") ? "independent" : "full";
}

}  // namespace

std::vector<std::string> adapter_choice(const FluxOptions& options) {
  if (options.adapter.empty()) return {};
  if (!fs::is_directory(options.adapter)) return {options.adapter};
  const fs::path inside = fs::path(options.adapter) / kAdapter;
  if (!fs::exists(inside))
    fail("--adapter", "no adapter in this folder", inside.string(), "no such file",
         fs::is_directory(fs::path(options.adapter) / "controlnet") ? "It holds a ControlNet: name it with --control" : "");
  return {inside.string()};
}

ConditionFiles open_condition(const FluxOptions& options, const std::vector<weights::LoraChoice>& loras) {
  const auto refuse_attention = [&](const std::string& fusion) {
    if (options.condition_attention != "auto")
      fail("--condition-attention", "there are no tokens of the picture in this fusion", "a sequence", fusion);
  };
  const bool controlled = options.condition_fusion == "controlnet" || (options.condition_fusion == "auto" && !options.control.empty());
  if (controlled) {
    refuse_attention("controlnet");
    return open_control(options);
  }
  if (!options.control.empty()) fail("--control", "a ControlNet is another fusion than was asked for", "controlnet", options.condition_fusion);
  if (options.control_mode >= 0) fail("--control-mode", "there is no ControlNet", "--control with it");
  if (options.adapter.empty())
    fail("--adapter", "FLUX alone does not see the picture that it shall restore", "an adapter, or a ControlNet with --control", "neither",
         "`resflow train configs/flux-ummf.toml` makes one; docs/flux.md names public ones");
  const fs::path& path = loras.front().lora.path;
  const auto file = weights::TensorFile::open(path);
  const auto recorded = models::recorded_fusion(file);
  const fs::path embedder = path.parent_path() / models::kConditionEmbedder;
  ConditionFiles out;
  if (recorded) out.fusion = *recorded;
  if (options.condition_fusion != "auto") {
    out.fusion.fusion = options.condition_fusion;
  } else if (!recorded && fs::exists(embedder)) {
    out.fusion.fusion = "addition";
  }
  if (out.fusion.fusion != "addition") {
    out.fusion.condition_attention = attention_of(options, recorded, file);
    return out;
  }
  refuse_attention("addition");
  if (!fs::exists(embedder))
    fail("--adapter", "an adapter of addition needs the map of the condition beside it", embedder.string(), "no such file",
         "`resflow train` writes both into its run's folder");
  out.embedder = weights::TensorFile::open(embedder);
  return out;
}

}  // namespace resflow::restore
