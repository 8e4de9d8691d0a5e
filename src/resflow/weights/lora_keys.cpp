#include "resflow/weights/lora_keys.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>

#include "resflow/core/error.h"

namespace resflow::weights {
namespace {

enum class Part { down, up, bias, alpha };

constexpr std::array<std::pair<std::string_view, Part>, 11> kEndings = {{{".lora_A.weight", Part::down},
                                                                         {".lora_B.weight", Part::up},
                                                                         {".lora_B.bias", Part::bias},
                                                                         {".lora_A.default.weight", Part::down},
                                                                         {".lora_B.default.weight", Part::up},
                                                                         {".lora_B.default.bias", Part::bias},
                                                                         {".lora_down.weight", Part::down},
                                                                         {".lora_up.weight", Part::up},
                                                                         {".lora.down.weight", Part::down},
                                                                         {".lora.up.weight", Part::up},
                                                                         {".alpha", Part::alpha}}};

// Other kinds of adapters, by what their keys hold.
constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kOtherKinds = {{{"dora_scale", "a DoRA"},
                                                                                       {"lora_magnitude_vector", "a DoRA"},
                                                                                       {".hada_", "a LoHa"},
                                                                                       {".lokr_", "a LoKr"},
                                                                                       {".oft_", "an OFT"},
                                                                                       {".lora_mid.", "a LoCon with Tucker's core"}}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kTextPrefixes = {{{"lora_te1_", "CLIP-L"},
                                                                                         {"lora_te_", "CLIP-L"},
                                                                                         {"text_encoder.", "CLIP-L"},
                                                                                         {"text_encoders.clip_l.", "CLIP-L"},
                                                                                         {"lora_te2_", "T5"},
                                                                                         {"lora_te3_", "T5"},
                                                                                         {"text_encoder_2.", "T5"},
                                                                                         {"text_encoders.t5xxl.", "T5"},
                                                                                         {"text_encoder_3.", "T5"}}};

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                       const std::string& hint = "") {
  throw_user_error({.where = "lora", .problem = path.string() + ": " + problem, .wanted = wanted, .got = got, .hint = hint});
}

std::optional<std::pair<std::string, Part>> taken_apart(const std::string& key) {
  const auto before = [&](std::string_view ending) { return key.substr(0, key.size() - ending.size()); };
  for (const auto& [ending, part] : kEndings)
    if (key.ends_with(ending)) return std::pair(before(ending), part);
  if (key.find(".processor.") != std::string::npos)  // x-labs': "...processor.qkv_lora1.down.weight"
    for (const auto& [ending, part] : {std::pair(std::string_view(".down.weight"), Part::down), {".up.weight", Part::up}})
      if (key.ends_with(ending)) return std::pair(before(ending), part);
  return std::nullopt;
}

double number_in(const TensorFile& file, const std::string& key) {
  const Tensor tensor = file.get(key);
  const double value = tensor.numel() == 1 ? tensor.to(at::kDouble).item<double>() : NAN;
  if (!std::isfinite(value)) fail(file.path(), fmt::format("bad '{}'", key), "one number");
  return value;
}

// Where the parts of `rows` rows begin and end.
std::vector<int64_t> row_counts(FluxRows kind, int64_t rows, size_t parts) {
  if (kind == FluxRows::attention_mlp) return {rows / 7, rows / 7, rows / 7, rows - 3 * (rows / 7)};  // the network is 4 times as wide
  return std::vector<int64_t>(parts, rows / static_cast<int64_t>(parts));
}

Tensor halves_turned(const Tensor& rows) {
  if (!rows.defined()) return rows;
  const auto halves = rows.chunk(2, 0);
  return at::cat({halves[1], halves[0]}, 0);
}

// Several adapters side by side that were saved as one: up is zero but for one block a part.
bool block_sparse(const Tensor& up, const std::vector<int64_t>& counts) {
  const auto parts = static_cast<int64_t>(counts.size());
  if (up.size(1) % parts != 0) return false;
  const int64_t rank = up.size(1) / parts;
  int64_t row = 0;
  for (int64_t i = 0; i < parts; row += counts[static_cast<size_t>(i)], ++i)
    for (int64_t k = 0; k < parts; ++k)
      if (i != k && up.narrow(0, row, counts[static_cast<size_t>(i)]).narrow(1, k * rank, rank).to(at::kFloat).count_nonzero().item<int64_t>() > 0)
        return false;
  return true;
}

std::optional<LoraTarget> target_in(std::span<const FluxName> names, const std::string& stem, const std::string& block, bool underscores) {
  const auto written = [&](std::string_view name) {
    std::string text(name);
    if (underscores) std::replace(text.begin(), text.end(), '.', '_');
    return text;
  };
  for (const auto& name : names) {
    LoraTarget target{.rows = name.rows};
    for (const auto part : name.ours)
      if (!part.empty()) target.names.push_back(block + std::string(part));
    if (written(name.theirs) == stem) return target;
    if (!underscores) continue;
    for (size_t i = 0; i < target.names.size(); ++i)
      if (written(name.ours[i]) == stem) return LoraTarget{.names = {target.names[i]}};
  }
  return std::nullopt;
}

std::optional<LoraTarget> target_of(const std::string& name, bool underscores) {
  const char mark = underscores ? '_' : '.';
  struct Blocks {
    std::string_view theirs, ours;
    std::span<const FluxName> names;
  };
  const std::array<Blocks, 4> blocks = {{{"double_blocks", "transformer_blocks", flux_double_names()},
                                         {"single_blocks", "single_transformer_blocks", flux_single_names()},
                                         {"transformer_blocks", "transformer_blocks", flux_double_names()},
                                         {"single_transformer_blocks", "single_transformer_blocks", flux_single_names()}}};
  for (const auto& kind : blocks) {
    const auto start = std::string(kind.theirs) + mark;
    if (!name.starts_with(start)) continue;
    const auto end = name.find(mark, start.size());
    if (end == std::string::npos) return std::nullopt;
    const auto number = name.substr(start.size(), end - start.size());
    if (number.empty() || number.size() > 4 || number.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
    return target_in(kind.names, name.substr(end + 1), fmt::format("{}.{}.", kind.ours, number), underscores);
  }
  return target_in(flux_top_names(), name, "", underscores);
}

}  // namespace

LoraKeys sort_lora_keys(const TensorFile& file) {
  LoraKeys out;
  std::map<std::string, size_t> places, text;
  for (const auto& key : file.names()) {
    for (const auto& [mark, kind] : kOtherKinds)
      if (key.find(mark) != std::string::npos) fail(file.path(), fmt::format("this adapter is {}, not a LoRA ('{}')", kind, key));
    const auto apart = taken_apart(key);
    const auto* encoder = std::find_if(kTextPrefixes.begin(), kTextPrefixes.end(), [&](const auto& prefix) { return key.starts_with(prefix.first); });
    if (encoder != kTextPrefixes.end()) {
      if (text.emplace(apart ? apart->first : key, 0).second) ++out.text_modules[std::string(encoder->second)];
      continue;
    }
    if (!apart) {
      out.others.push_back(key);
      continue;
    }
    const auto& [module, part] = *apart;
    const auto [place, fresh] = places.emplace(module, out.modules.size());
    if (fresh) out.modules.push_back({.module = module});
    LoraParts& parts = out.modules[place->second];
    parts.keys.push_back(key);
    if (part == Part::alpha) {
      parts.alpha = number_in(file, key);
      continue;
    }
    Tensor& slot = part == Part::down ? parts.down : part == Part::up ? parts.up : parts.bias;
    if (slot.defined()) fail(file.path(), fmt::format("two keys for one half of '{}'", module));
    slot = file.get(key);
    if (!slot.is_floating_point()) fail(file.path(), fmt::format("'{}' is of integers", key));
  }
  return out;
}

std::string without_lora_prefix(const std::string& name) {
  std::string out = name;
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view prefix : {"base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer."})
      if (out.starts_with(prefix)) {
        out = out.substr(prefix.size());
        again = true;
      }
  }
  return out;
}

std::optional<LoraTarget> bfl_lora_target(const std::string& name) { return target_of(name, false); }
std::optional<LoraTarget> underscored_lora_target(const std::string& name) { return target_of(name, true); }

void add_lora_module(Lora& lora, const LoraParts& parts, const LoraTarget& target, std::optional<double> scale) {
  if (!parts.down.defined() || !parts.up.defined())
    fail(lora.path, fmt::format("'{}' is half an adapter", parts.module), "lora_A and lora_B (lora_down and lora_up)",
         fmt::format("{}", fmt::join(parts.keys, ", ")));
  const auto bad_shapes = [&](const std::string& wanted) {
    const auto shape = [](const Tensor& t) { return t.defined() ? fmt::format("[{}]", fmt::join(t.sizes(), ", ")) : std::string(); };
    fail(lora.path, fmt::format("'{}' has shapes that contradict each other", parts.module), wanted,
         fmt::format("{} and {} {}", shape(parts.down), shape(parts.up), shape(parts.bias)));
  };
  if (parts.down.dim() != 2 || parts.up.dim() != 2 || parts.down.size(0) != parts.up.size(1) || parts.down.size(0) == 0)
    bad_shapes("down [rank, in] and up [out, rank]");
  if (parts.bias.defined() && (parts.bias.dim() != 1 || parts.bias.size(0) != parts.up.size(0))) bad_shapes("a bias of up's rows");
  const int64_t rank = parts.down.size(0), rows = parts.up.size(0);
  const int64_t divisor = target.rows == FluxRows::attention_mlp   ? 7
                          : target.rows == FluxRows::thirds        ? 3
                          : target.rows == FluxRows::halves_turned ? 2
                                                                   : 1;
  if (rows % divisor != 0) bad_shapes(fmt::format("a multiple of {} rows in up", divisor));

  const double factor = parts.alpha ? *parts.alpha / static_cast<double>(rank) : scale.value_or(1);
  if (target.rows == FluxRows::same || target.rows == FluxRows::halves_turned || target.names.size() == 1) {
    const bool turn = target.rows == FluxRows::halves_turned;
    lora.modules.push_back({.name = target.names.at(0),
                            .down = parts.down,
                            .up = turn ? halves_turned(parts.up) : parts.up,
                            .bias = turn ? halves_turned(parts.bias) : parts.bias,
                            .scale = factor});
    return;
  }
  const auto counts = row_counts(target.rows, rows, target.names.size());
  const bool sparse = block_sparse(parts.up, counts);
  const int64_t part_rank = sparse ? rank / static_cast<int64_t>(counts.size()) : rank;
  int64_t row = 0;
  for (size_t i = 0; i < counts.size(); row += counts[i], ++i) {
    LoraModule module{.name = target.names[i], .down = parts.down, .up = parts.up.narrow(0, row, counts[i]), .scale = factor};
    if (sparse) {
      module.down = module.down.narrow(0, static_cast<int64_t>(i) * part_rank, part_rank);
      module.up = module.up.narrow(1, static_cast<int64_t>(i) * part_rank, part_rank);
    }
    if (parts.bias.defined()) module.bias = parts.bias.narrow(0, row, counts[i]);
    lora.modules.push_back(std::move(module));
  }
}

}  // namespace resflow::weights
