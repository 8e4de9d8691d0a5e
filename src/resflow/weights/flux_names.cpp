#include "resflow/weights/flux_names.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <set>

#include "resflow/core/error.h"
#include "resflow/weights/view.h"

namespace resflow::weights {
namespace {

constexpr std::array<FluxName, 10> kTop = {{
    {"img_in", {"x_embedder"}},
    {"txt_in", {"context_embedder"}},
    {"time_in.in_layer", {"time_text_embed.timestep_embedder.linear_1"}},
    {"time_in.out_layer", {"time_text_embed.timestep_embedder.linear_2"}},
    {"vector_in.in_layer", {"time_text_embed.text_embedder.linear_1"}},
    {"vector_in.out_layer", {"time_text_embed.text_embedder.linear_2"}},
    {"guidance_in.in_layer", {"time_text_embed.guidance_embedder.linear_1"}},
    {"guidance_in.out_layer", {"time_text_embed.guidance_embedder.linear_2"}},
    {"final_layer.adaLN_modulation.1", {"norm_out.linear"}, FluxRows::halves_turned},
    {"final_layer.linear", {"proj_out"}},
}};
constexpr std::array<FluxName, 14> kDouble = {{
    {"img_mod.lin", {"norm1.linear"}},
    {"txt_mod.lin", {"norm1_context.linear"}},
    {"img_attn.qkv", {"attn.to_q", "attn.to_k", "attn.to_v"}, FluxRows::thirds},
    {"txt_attn.qkv", {"attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"}, FluxRows::thirds},
    {"img_attn.norm.query_norm", {"attn.norm_q"}},
    {"img_attn.norm.key_norm", {"attn.norm_k"}},
    {"txt_attn.norm.query_norm", {"attn.norm_added_q"}},
    {"txt_attn.norm.key_norm", {"attn.norm_added_k"}},
    {"img_attn.proj", {"attn.to_out.0"}},
    {"txt_attn.proj", {"attn.to_add_out"}},
    {"img_mlp.0", {"ff.net.0.proj"}},
    {"img_mlp.2", {"ff.net.2"}},
    {"txt_mlp.0", {"ff_context.net.0.proj"}},
    {"txt_mlp.2", {"ff_context.net.2"}},
}};
constexpr std::array<FluxName, 5> kSingle = {{
    {"modulation.lin", {"norm.linear"}},
    {"linear1", {"attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"}, FluxRows::attention_mlp},
    {"linear2", {"proj_out"}},
    {"norm.query_norm", {"attn.norm_q"}},
    {"norm.key_norm", {"attn.norm_k"}},
}};
// diffusers' own after fuse_projections(); then nothing else is called so.
constexpr std::array<FluxName, 2> kFused = {{
    {"attn.to_qkv", {"attn.to_q", "attn.to_k", "attn.to_v"}, FluxRows::thirds},
    {"attn.to_added_qkv", {"attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"}, FluxRows::thirds},
}};

// A name that stands at the beginning of a file's names, or after a prefix's dot. -> the prefix
std::optional<std::string> prefix_of(const TensorFile& file, std::string_view mark) {
  for (const auto& name : file.names()) {
    if (!name.ends_with(mark)) continue;
    const auto prefix = name.substr(0, name.size() - mark.size());
    if (prefix.empty() || prefix.back() == '.') return prefix;
  }
  return std::nullopt;
}

// "double_blocks.3.img_mod.lin.weight" -> "double_blocks.3.", "img_mod.lin", ".weight"
struct Name {
  std::string block, stem, ending;
};
Name taken_apart(const std::string& name, std::string_view blocks) {
  Name out;
  size_t at = 0;
  if (name.starts_with(blocks)) at = name.find('.', blocks.size()) + 1;
  const auto dot = name.rfind('.');
  if (dot == std::string::npos || at > dot) return {.stem = name};
  return {.block = name.substr(0, at), .stem = name.substr(at, dot - at), .ending = name.substr(dot)};
}

const FluxName* find(std::span<const FluxName> names, std::string_view theirs) {
  for (const auto& name : names)
    if (name.theirs == theirs) return &name;
  return nullptr;
}

// Where a fused tensor's parts begin.
std::vector<int64_t> cuts(const TensorFile& file, const FluxName& name, const std::string& full, int64_t width) {
  [[maybe_unused]] const auto type = file.dtype(full);  // a packing that is not read is told before its shape is
  const int64_t rows = file.shape(full).empty() ? 0 : file.shape(full)[0];
  if (name.rows == FluxRows::same) return {0, rows};
  const int64_t parts = name.rows == FluxRows::halves_turned ? 2 : 3;
  const int64_t part = name.rows == FluxRows::attention_mlp ? width : rows / parts;
  const bool fits = name.rows == FluxRows::attention_mlp ? rows > 3 * width : rows % parts == 0;
  if (!fits || rows == 0)
    throw_user_error(
        {.where = "load",
         .problem = fmt::format("{}: tensor '{}' cannot be cut into its parts", file.path().string(), full),
         .wanted = name.rows == FluxRows::attention_mlp ? fmt::format("more than 3 x {} rows", width) : fmt::format("a multiple of {} rows", parts),
         .got = std::to_string(rows)});
  std::vector<int64_t> out;
  for (int64_t i = 0; i <= parts; ++i) out.push_back(i * part);
  if (out.back() != rows) out.push_back(rows);
  return out;
}

// Each of diffusers' tensors that a tensor of the file holds.
void cut_into(std::vector<ViewTensor>& out, const TensorFile& file, const FluxName& name, const std::string& full, const std::string& block,
              const std::string& ending, int64_t width) {
  const auto at = cuts(file, name, full, width);
  if (name.rows == FluxRows::same) {
    out.push_back({.name = fmt::format("{}{}{}", block, name.ours[0], ending), .rows = {{.name = full}}});
  } else if (name.rows == FluxRows::halves_turned) {
    out.push_back({.name = fmt::format("{}{}{}", block, name.ours[0], ending),
                   .rows = {{.name = full, .begin = at[1], .count = at[2] - at[1]}, {.name = full, .begin = 0, .count = at[1]}}});
  } else {
    for (size_t i = 0; i + 1 < at.size(); ++i)
      out.push_back(
          {.name = fmt::format("{}{}{}", block, name.ours[i], ending), .rows = {{.name = full, .begin = at[i], .count = at[i + 1] - at[i]}}});
  }
}

TensorFile from_bfl(const TensorFile& file, const std::string& prefix) {
  const auto embedding = file.shape(prefix + "img_in.weight");
  const int64_t width = embedding.empty() ? 0 : embedding[0];
  std::vector<ViewTensor> out;
  for (const auto& full : file.names()) {
    if (!full.starts_with(prefix)) continue;
    const auto name = full.substr(prefix.size());
    const bool twin = name.starts_with("double_blocks."), single = name.starts_with("single_blocks.");
    const auto [block, stem, ending] = taken_apart(name, twin ? "double_blocks." : "single_blocks.");
    const FluxName* found = find(twin ? flux_double_names() : single ? flux_single_names() : flux_top_names(), stem);
    if (found == nullptr) {  // load_strict says what is not known
      out.push_back({.name = name, .rows = {{.name = full}}});
      continue;
    }
    const auto ours = twin ? "transformer_" + block.substr(7) : single ? "single_transformer_" + block.substr(7) : "";
    cut_into(out, file, *found, full, ours, ending == ".scale" ? ".weight" : ending, width);
  }
  return view_of(file, std::move(out));
}

TensorFile from_diffusers(const TensorFile& file, const std::string& prefix) {
  std::vector<ViewTensor> out;
  bool changed = !prefix.empty();
  for (const auto& full : file.names()) {
    if (!full.starts_with(prefix)) continue;
    const auto name = full.substr(prefix.size());
    const auto [block, stem, ending] =
        taken_apart(name, name.starts_with("transformer_blocks.") ? "transformer_blocks." : "single_transformer_blocks.");
    const FluxName* fused = find(kFused, stem);
    changed = changed || fused != nullptr;
    if (fused != nullptr) {
      cut_into(out, file, *fused, full, block, ending, 0);
    } else {
      out.push_back({.name = name, .rows = {{.name = full}}});
    }
  }
  return changed ? view_of(file, std::move(out)) : file;
}

FluxPart part_of(const TensorFile& file) {
  if (const auto found = find_flux(file)) return *found;
  throw_user_error({.where = "load",
                    .problem = file.path().string() + ": no FLUX transformer in this file",
                    .wanted = "diffusers' names (transformer_blocks.0...) or BFL's (double_blocks.0...)",
                    .hint = "`resflow inspect` says what a file is"});
}

// BFL's tensor of diffusers' parts. Where one is missing, nothing: what is left over is named as it is.
void join_into(std::vector<ViewTensor>& out, std::set<std::string>& used, const TensorFile& file, const FluxName& name, const std::string& ours,
               const std::string& theirs) {
  for (const std::string ending : {".weight", ".bias"}) {
    const std::string first = ours + std::string(name.ours[0]) + ending;
    if (!file.contains(first)) continue;
    ViewTensor tensor{.name = theirs + std::string(name.theirs) + (name.theirs.ends_with("_norm") ? ".scale" : ending)};
    if (name.rows == FluxRows::halves_turned) {
      const int64_t half = file.shape(first).at(0) / 2;
      tensor.rows = {{.name = first, .begin = half, .count = half}, {.name = first, .begin = 0, .count = half}};
      used.insert(first);
    } else {
      for (const auto part : name.ours) {
        if (part.empty()) break;
        tensor.rows.push_back({.name = ours + std::string(part) + ending});
        used.insert(tensor.rows.back().name);
      }
    }
    out.push_back(std::move(tensor));
  }
}

}  // namespace

std::span<const FluxName> flux_top_names() { return kTop; }
std::span<const FluxName> flux_double_names() { return kDouble; }
std::span<const FluxName> flux_single_names() { return kSingle; }

std::optional<FluxPart> find_flux(const TensorFile& file) {
  for (const std::string_view mark : {"double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"})
    if (const auto prefix = prefix_of(file, mark); prefix && file.contains(*prefix + "img_in.weight")) return FluxPart{FluxNaming::bfl, *prefix};
  for (const std::string_view mark : {"transformer_blocks.0.norm1_context.linear.weight", "single_transformer_blocks.0.proj_mlp.weight"})
    if (const auto prefix = prefix_of(file, mark); prefix && file.contains(*prefix + "x_embedder.weight"))
      return FluxPart{FluxNaming::diffusers, *prefix};
  return std::nullopt;
}

TensorFile flux_as_diffusers(const TensorFile& file) {
  const auto [naming, prefix] = part_of(file);
  return naming == FluxNaming::bfl ? from_bfl(file, prefix) : from_diffusers(file, prefix);
}

TensorFile flux_as_bfl(const TensorFile& any) {
  const auto [naming, prefix] = part_of(any);
  if (naming == FluxNaming::bfl) return without_prefix(any, prefix);
  const TensorFile file = from_diffusers(any, prefix);
  std::vector<ViewTensor> out;
  std::set<std::string> used;
  for (const auto& name : kTop) join_into(out, used, file, name, "", "");
  for (int64_t i = 0; file.contains(fmt::format("transformer_blocks.{}.norm1.linear.weight", i)); ++i)
    for (const auto& name : kDouble) join_into(out, used, file, name, fmt::format("transformer_blocks.{}.", i), fmt::format("double_blocks.{}.", i));
  for (int64_t i = 0; file.contains(fmt::format("single_transformer_blocks.{}.norm.linear.weight", i)); ++i)
    for (const auto& name : kSingle)
      join_into(out, used, file, name, fmt::format("single_transformer_blocks.{}.", i), fmt::format("single_blocks.{}.", i));
  for (const auto& name : file.names())
    if (!used.contains(name)) out.push_back({.name = name, .rows = {{.name = name}}});
  return view_of(file, std::move(out));
}

}  // namespace resflow::weights
