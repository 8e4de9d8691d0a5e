#include "resflow/weights/autoencoder_names.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>

#include "resflow/core/error.h"
#include "resflow/weights/view.h"

namespace resflow::weights {
namespace {

struct Pair {
  std::string_view theirs, ours;
};

// Anywhere in a name, once each. The decoder's "up.N" counts from the other end and is not here.
constexpr std::array<Pair, 12> kInside = {{
    {".mid.block_1.", ".mid_block.resnets.0."},
    {".mid.block_2.", ".mid_block.resnets.1."},
    {".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."},
    {".mid.attn_1.q.", ".mid_block.attentions.0.to_q."},
    {".mid.attn_1.k.", ".mid_block.attentions.0.to_k."},
    {".mid.attn_1.v.", ".mid_block.attentions.0.to_v."},
    {".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."},
    {"coder.norm_out.", "coder.conv_norm_out."},
    {".nin_shortcut.", ".conv_shortcut."},
    {".downsample.conv.", ".downsamplers.0.conv."},
    {".upsample.conv.", ".upsamplers.0.conv."},
    {".block.", ".resnets."},
}};
// Linear maps here, convolutions there.
constexpr std::array<std::string_view, 4> kLinear = {"to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight"};

bool is_linear(std::string_view ours) {
  for (const auto end : kLinear)
    if (ours.find(".attentions.0.") != std::string_view::npos && ours.ends_with(end)) return true;
  return false;
}

// "encoder.down.2." -> "encoder.down_blocks.2."; the decoder's turned round.
std::string with_blocks(std::string name, std::string_view from, std::string_view to, int64_t turned_in) {
  if (!name.starts_with(from)) return name;
  const auto dot = name.find('.', from.size());
  auto number = name.substr(from.size(), dot == std::string::npos ? 0 : dot - from.size());
  if (number.empty() || number.size() > 3 || number.find_first_not_of("0123456789") != std::string::npos) return name;
  if (turned_in > 0) number = std::to_string(turned_in - 1 - std::stoll(number));
  return std::string(to) + number + name.substr(dot);
}

std::string ours_of(std::string name, int64_t levels) {
  name = with_blocks(with_blocks(name, "encoder.down.", "encoder.down_blocks.", 0), "decoder.up.", "decoder.up_blocks.", levels);
  for (const auto& [theirs, ours] : kInside)
    if (const auto at = name.find(theirs); at != std::string::npos) name.replace(at, theirs.size(), ours);
  return name;
}

std::string theirs_of(std::string name, int64_t levels) {
  name = with_blocks(with_blocks(name, "encoder.down_blocks.", "encoder.down.", 0), "decoder.up_blocks.", "decoder.up.", levels);
  for (const auto& [theirs, ours] : kInside)
    if (const auto at = name.find(ours); at != std::string::npos) {
      name.replace(at, ours.size(), theirs);
      if (theirs.starts_with(".mid.")) break;  // its resnets and norms are no others
    }
  return name;
}

struct Part {
  bool diffusers;
  std::string prefix;
};

std::optional<Part> find_part(const TensorFile& file) {
  constexpr std::array<std::pair<bool, std::string_view>, 4> kMarks = {{{false, "decoder.up.0.block.0.conv1.weight"},
                                                                        {false, "encoder.down.0.block.0.conv1.weight"},
                                                                        {true, "decoder.up_blocks.0.resnets.0.conv1.weight"},
                                                                        {true, "encoder.down_blocks.0.resnets.0.conv1.weight"}}};
  for (const auto& [diffusers, mark] : kMarks)
    for (const auto& name : file.names())
      if (name.ends_with(mark) && (name.size() == mark.size() || name[name.size() - mark.size() - 1] == '.'))
        return Part{diffusers, name.substr(0, name.size() - mark.size())};
  return std::nullopt;
}

int64_t levels_of(const TensorFile& file, const std::string& blocks) {
  int64_t out = 0;
  const auto there = [&](int64_t i) {
    for (const auto* first : {"block.0.conv1.weight", "resnets.0.conv1.weight"})
      if (file.contains(fmt::format("{}{}.{}", blocks, i, first))) return true;
    return false;
  };
  while (there(out)) ++out;
  return out;
}

Part part_of(const TensorFile& file) {
  if (const auto found = find_part(file)) return *found;
  throw_user_error({.where = "load",
                    .problem = file.path().string() + ": no AutoencoderKL in this file",
                    .wanted = "diffusers' names (decoder.up_blocks.0...) or BFL's (decoder.up.0...)",
                    .hint = "`resflow inspect` says what a file is"});
}

}  // namespace

bool has_autoencoder(const TensorFile& file) { return find_part(file).has_value(); }

TensorFile autoencoder_as_diffusers(const TensorFile& any) {
  const auto [diffusers, prefix] = part_of(any);
  const TensorFile file = without_prefix(any, prefix);
  const int64_t levels = levels_of(file, "decoder.up.");
  std::vector<ViewTensor> out;
  for (const auto& name : file.names()) {
    const auto ours = diffusers ? name : ours_of(name, levels);
    out.push_back({.name = ours, .rows = {{.name = name}}, .axes = is_linear(ours) ? 2 : -1});
  }
  return view_of(file, std::move(out));
}

TensorFile autoencoder_as_bfl(const TensorFile& any) {
  const TensorFile file = autoencoder_as_diffusers(any);
  const int64_t levels = levels_of(file, "decoder.up_blocks.");
  std::vector<ViewTensor> out;
  for (const auto& name : file.names()) out.push_back({.name = theirs_of(name, levels), .rows = {{.name = name}}, .axes = is_linear(name) ? 4 : -1});
  return view_of(file, std::move(out));
}

}  // namespace resflow::weights
