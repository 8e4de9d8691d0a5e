// resflow pack | merge | inspect: files of tensors.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <set>

#include "command.h"
#include "failed_pictures.h"
#include "resflow/core/device.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/image/codec.h"
#include "resflow/models/compact/compact.h"
#include "resflow/models/esrgan/file.h"
#include "resflow/models/remover_network.h"
#include "resflow/restore/picture_list.h"
#include "resflow/samples/sample.h"
#include "resflow/train/dataset.h"
#include "resflow/weights/family.h"
#include "resflow/weights/fingerprint.h"
#include "resflow/weights/lora.h"
#include "resflow/weights/safetensors.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::cli {
namespace {

std::set<std::string> names_in(const std::string& path) {
  std::set<std::string> names;
  std::istringstream lines(read_text(path));
  for (std::string line; std::getline(lines, line);)
    if (!line.empty() && line[0] != '#') names.insert(line);
  return names;
}

Tensor as_bytes(const Tensor& pixels) { return pixels.mul(255).round_().to(at::kByte); }  // [3, H, W]

using Pictures = std::map<std::string, std::filesystem::path>;  // by stem

Pictures pictures_in(const std::string& folder) {
  Pictures out;
  if (!folder.empty())
    for (const auto& path : restore::list_pictures({folder})) out.emplace(path.stem(), path);
  return out;
}

Tensor picture_of(const Pictures& pictures, const std::string& name, const std::string& folder) {
  const auto found = pictures.find(std::filesystem::path(name).filename());
  if (found == pictures.end())
    throw_user_error({.where = folder, .problem = "has no picture '" + name + "'", .wanted = "one for each clean picture"});
  return as_bytes(image::read_picture(found->second).pixels);
}

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// The clean picture and, where asked, its company. `resflow degrade` leaves out what is over a multiple of the scale, from both sides alike.
NamedTensors packed_sample(const PackOptions& options, const samples::Sample& sample, const Pictures& poor, const Pictures& taught_ones) {
  Tensor clean = as_bytes(sample.pixels());
  if (options.degraded.empty()) return {{sample.name, clean}};
  const Tensor degraded = picture_of(poor, sample.name, options.degraded), taught = picture_of(taught_ones, sample.name, options.taught);
  const int64_t height = taught.size(1), width = taught.size(2), scale = height / degraded.size(1);
  const int64_t y = (clean.size(1) - height) / 2, x = (clean.size(2) - width) / 2;
  if (scale < 1 || degraded.size(1) * scale != height || degraded.size(2) * scale != width || clean.size(1) / scale * scale != height ||
      clean.size(2) / scale * scale != width)
    throw_user_error({.where = sample.where,
                      .problem = "the degraded and the taught picture do not fit it",
                      .wanted = "what `resflow degrade` makes of it, and a teacher's picture of that at the clean one's size",
                      .got = c10::str("clean ", clean.sizes(), ", degraded ", degraded.sizes(), ", taught ", taught.sizes())});
  clean = clean.slice(1, y, y + height).slice(2, x, x + width).contiguous();
  return {{sample.name, clean}, {sample.name + std::string(train::kDegraded), degraded}, {sample.name + std::string(train::kTaught), taught}};
}

}  // namespace

int pack_pictures(const PackOptions& options) {
  if (options.degraded.empty() != options.taught.empty()) throw_user_error({.where = "pack", .problem = "--degraded and --taught belong together"});
  const auto names = [](const std::string& path) { return path.empty() ? std::set<std::string>() : names_in(path); };
  const auto wanted = names(options.only), unwanted = names(options.except);
  const auto chosen = [&](const samples::Sample& sample) {
    return (options.only.empty() || wanted.contains(sample.file)) && !unwanted.contains(sample.file);
  };
  std::map<std::string, std::string> places;  // by name; what is wrong with them is told before a picture is read
  const auto unread = samples::each_sample(options.inputs, {.pixels = false}, [&](const samples::Sample& sample) {
    if (!chosen(sample)) return;
    if (const auto [other, fresh] = places.emplace(sample.name, sample.where); !fresh)
      throw_user_error({.where = "pack",
                        .problem = "two pictures of one name: " + other->second + " and " + sample.where,
                        .hint = "Pack them into different shards"});
  });
  if (places.empty())
    throw_user_error(
        {.where = "pack", .problem = "no picture left to pack", .got = unread.empty() ? "" : unread.front().where + ": " + unread.front().problem});
  const Pictures poor = pictures_in(options.degraded), taught = pictures_in(options.taught);
  create_folder(std::filesystem::path(options.output).parent_path());
  std::map<std::string, NamedTensors> packed;  // in the names' order, so that the shard does not depend on that of the inputs
  FailedPictures failed;
  const auto skipped = samples::each_sample(options.inputs, {}, [&](const samples::Sample& sample) {
    if (interrupted().stop_requested()) throw Cancelled();
    if (!chosen(sample)) return;
    try {
      packed[sample.name] = packed_sample(options, sample, poor, taught);
    } catch (const UserError& error) {
      failed.add(sample.where, error.what());
    }
  });
  for (const auto& [where, problem] : skipped) failed.add(where, problem);
  if (packed.empty()) throw_user_error({.where = "pack", .problem = "no picture could be read"});
  NamedTensors images;
  for (const auto& [name, tensors] : packed) images.insert(images.end(), tensors.begin(), tensors.end());
  weights::write_safetensors(options.output, images, {{"kind", "resflow shard"}});
  log_info(fmt::format("{} pictures -> {}", packed.size(), options.output));
  return failed.report(packed.size());
}

namespace {

// A shape as it is written today: files of earlier versions leave out fields that have come since.
std::string full_config(const std::string& json, const std::string& path) {
  models::CompactConfig config;
  fields_from_json(config, Json::parse(json, nullptr, /*allow_exceptions=*/false), path);
  return fields_to_json(config).dump();
}

struct MergeOptions {
  std::vector<std::string> inputs, defaults;
  std::vector<double> mean;  // empty, or a weight an input
  std::string output;
};

// The tensors of all files, none of them in two.
NamedTensors joined(const std::vector<weights::TensorFile>& files) {
  NamedTensors out;
  std::set<std::string> names;
  for (const auto& file : files)
    for (const auto& name : file.names()) {
      if (!names.insert(name).second)
        throw_user_error({.where = file.path().string(),
                          .problem = "tensor '" + name + "' is in another file too",
                          .hint = "Files of the same tensors can be averaged: --mean"});
      out.emplace_back(name, file.get(name));
    }
  return out;
}

// The weighted mean of files that hold the same tensors, each in the first file's number type.
NamedTensors mean_of(const std::vector<weights::TensorFile>& files, const std::vector<double>& shares) {
  double sum = 0;
  for (const double share : shares) sum += share;
  if (shares.size() != files.size() || !(sum > 0))
    throw_user_error({.where = "--mean",
                      .problem = "wrong weights",
                      .wanted = fmt::format("{} numbers, one a file, with a sum above 0", files.size()),
                      .got = Json(shares).dump()});
  NamedTensors out;
  const auto& first = files.front();
  for (const auto& name : first.names()) {
    const Tensor kind = first.get(name);
    if (!kind.is_floating_point())
      throw_user_error({.where = first.path().string(), .problem = "tensor '" + name + "' has no mean", .wanted = "plain floating-point numbers"});
    Tensor mean = at::zeros(kind.sizes(), at::kDouble);
    for (size_t i = 0; i < files.size(); ++i) {
      const bool there = files[i].contains(name);
      const Tensor tensor = there ? files[i].get(name) : Tensor();
      if (!there || tensor.sizes() != kind.sizes() || files[i].names().size() != first.names().size())
        throw_user_error({.where = files[i].path().string(),
                          .problem = "its tensors are not those of " + first.path().string(),
                          .wanted = c10::str(name, " ", kind.sizes()),
                          .got = there ? c10::str(tensor.sizes(), " and ", files[i].names().size(), " tensors") : "none of that name",
                          .hint = "Only weights of one shape have a mean"});
      mean += tensor.to(at::kDouble) * (shares[i] / sum);
    }
    out.emplace_back(name, mean.to(kind.scalar_type()));
  }
  return out;
}

// That of all files, which must not contradict each other. A mean is still of the part that its files are of.
std::map<std::string, std::string> joined_metadata(const std::vector<weights::TensorFile>& files, bool one_part) {
  std::map<std::string, std::string> out;
  for (const auto& file : files) {
    const auto family = file.metadata().find("family");
    const bool compact = family != file.metadata().end() && family->second == "compact";
    for (const auto& [key, written] : file.metadata()) {
      if (key == "step" || (key == "part" && !one_part)) continue;
      const std::string value = compact && key == "config" ? full_config(written, file.path().string()) : written;
      if (const auto [other, fresh] = out.emplace(key, value); !fresh && other->second != value)
        throw_user_error({.where = file.path().string(),
                          .problem = "metadata '" + key + "' differs",
                          .wanted = other->second,
                          .got = value,
                          .hint = one_part ? "Only weights of one shape have a mean" : "Are these parts of one model?"});
    }
  }
  return out;
}

int merge(const MergeOptions& options) {
  std::vector<weights::TensorFile> files;
  for (const auto& path : options.inputs) files.push_back(weights::TensorFile::open(path));
  const NamedTensors tensors = options.mean.empty() ? joined(files) : mean_of(files, options.mean);
  auto metadata = joined_metadata(files, !options.mean.empty());
  Json values = Json::object();
  for (const auto& item : options.defaults) {
    const auto split = item.find('=');
    const Json value = split == std::string::npos ? Json() : Json::parse(item.substr(split + 1), nullptr, /*allow_exceptions=*/false);
    if (!value.is_number()) throw_user_error({.where = "--default", .problem = "bad default", .wanted = "name=number", .got = item});
    values[item.substr(0, split)] = value;
  }
  if (!values.empty()) {
    models::CompactDefaults known;
    fields_from_json(known, values, "--default");
    metadata["defaults"] = values.dump();
  }
  create_folder(std::filesystem::path(options.output).parent_path());
  weights::write_safetensors(options.output, tensors, metadata);
  log_info(fmt::format("{} tensors -> {}", tensors.size(), options.output));
  return kGood;
}

// What an adapter does, or why it cannot be used.
Json adapter_report(const weights::TensorFile& file) {
  try {
    return weights::lora_summary(weights::read_lora(file));
  } catch (const UserError& error) {
    return {{"error", error.what()}};
  }
}

void print_adapter(const Json& adapter) {
  if (adapter.contains("error")) {
    std::printf("  cannot be used: %s\n", adapter["error"].get<std::string>().c_str());
    return;
  }
  const auto counts = [](const Json& histogram) {  // "16 (304), 32 (57)"
    std::string out;
    for (const auto& [value, count] : histogram.items()) out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", value, count.get<int64_t>());
    return out;
  };
  const int64_t parameters = adapter["parameters"].get<int64_t>(), whole = adapter["replacements"].get<int64_t>();
  std::printf("  adapts %s modules with %lld parameters, on %s\n", adapter["modules"].dump().c_str(), static_cast<long long>(parameters),
              adapter["tokens"] == "all" ? "every token" : "the condition's tokens alone");
  std::printf("  ranks (modules): %s; alpha: %s\n", counts(adapter["ranks"]).c_str(), counts(adapter["alphas"]).c_str());
  if (whole > 0) std::printf("  replaces %lld norms\n", static_cast<long long>(whole));
  for (const auto& [encoder, count] : adapter["text_modules"].items())
    std::printf("  adapts %s too, which is left alone (modules: %s)\n", encoder.c_str(), count.dump().c_str());
}

int inspect(const std::string& path, bool json) {
  const auto file = models::is_ncnn_path(path) ? models::open_esrgan(path) : weights::TensorFile::open(path);
  std::map<std::string, std::pair<int64_t, int64_t>> types;  // as stored -> tensors, numbers
  int64_t numbers = 0;
  for (const auto& name : file.names()) {
    const int64_t count = c10::multiply_integers(file.shape(name));
    auto& [tensors, total] = types[file.stored_type(name)];
    ++tensors;
    total += count;
    numbers += count;
  }
  Json report = {{"file", path}, {"format", file.format()}, {"tensors", file.names().size()}, {"parameters", numbers}, {"metadata", file.metadata()}};
  for (const auto& [type, counts] : types) report["types"][type] = {{"tensors", counts.first}, {"parameters", counts.second}};
  const auto families = weights::families_of(file);
  report["families"] = Json::array();
  for (const auto& family : families) report["families"].push_back({{"name", family.name}, {"what", family.what}, {"use", family.use}});
  const bool adapter = std::any_of(families.begin(), families.end(), [](const auto& family) { return family.name == "lora"; });
  if (adapter) report["adapter"] = adapter_report(file);
  const bool remover =
      std::any_of(families.begin(), families.end(), [](const auto& family) { return family.name == "esrgan" || family.name == "swinir"; });
  if (remover) {
    report["fingerprint"] = weights::fingerprint(file);
    try {
      report["network"] = models::load_remover_network(file, c10::kCPU, c10::kFloat)->architecture();
    } catch (const UserError& error) {
      report["network"] = std::string("cannot be used: ") + error.what();
    }
  }
  if (json) {
    for (const auto& name : file.names()) report["names"][name] = file.shape(name);
    std::printf("%s\n", report.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return kGood;
  }
  std::printf("%s: %s, %zu tensors, %lld parameters\n", path.c_str(), file.format().c_str(), file.names().size(), static_cast<long long>(numbers));
  for (const auto& family : families) std::printf("  %s; used by: %s\n", std::string(family.what).c_str(), std::string(family.use).c_str());
  if (families.empty()) std::printf("  nothing that resflow knows\n");
  if (remover) std::printf("  %s; fingerprint %s\n", report["network"].get<std::string>().c_str(), report["fingerprint"].get<std::string>().c_str());
  if (adapter) print_adapter(report["adapter"]);
  for (const auto& [type, counts] : types)
    std::printf("  %-6s %lld tensors, %lld parameters\n", type.c_str(), static_cast<long long>(counts.first), static_cast<long long>(counts.second));
  for (const auto& [key, value] : file.metadata()) std::printf("  %s: %s\n", key.c_str(), value.c_str());
  return kGood;
}

}  // namespace

std::function<int()> command_pack(CLI::App& app) {
  auto state = std::make_shared<PackOptions>();
  app.add_option("inputs", state->inputs, "Pictures, folders of pictures, globs; tar shards (webdataset's); lists (.jsonl: {\"image\": path})")
      ->required();
  app.add_option("-o,--output", state->output, "The shard (.safetensors)")->required();
  app.add_option("--only", state->only, "Text file of file names: pack these alone");
  app.add_option("--except", state->except, "Text file of file names: leave these out");
  app.add_option("--degraded", state->degraded, "Folder of what `resflow degrade` made of them; goes with --taught");
  app.add_option("--taught", state->taught, "Folder of what a teacher makes of the degraded ones: a flow can be trained towards it");
  app.footer(
      "Examples:\n  resflow pack photos/ -o data/train.safetensors --except configs/validation.txt\n"
      "  resflow pack photos/ -o data/taught.safetensors --degraded poor/ --taught teacher/\n"
      "  resflow pack 'shards/train-*.tar' list.jsonl -o data/train.safetensors");
  return [state] { return pack_pictures(*state); };
}

std::function<int()> command_merge(CLI::App& app) {
  auto state = std::make_shared<MergeOptions>();
  app.add_option("inputs", state->inputs, "Weight files with different tensors; with --mean with the same")->required();
  app.add_option("-o,--output", state->output, "The joined file")->required();
  app.add_option("--default", state->defaults, "name=number: how the weights are best used (steps, sigma_s)");
  app.add_option("--mean", state->mean, "Weights, one a file: their mean instead of all their tensors")->delimiter(',');
  app.footer(
      "Examples:\n  resflow merge runs/flow/weights.safetensors runs/flow_finish/weights.safetensors --mean 0.3,0.7 -o flow.safetensors\n"
      "  resflow merge runs/dr/weights.safetensors runs/flow/weights.safetensors -o compact.safetensors --default steps=4 --default "
      "sigma_s=0.05");
  return [state] { return merge(*state); };
}

std::function<int()> command_inspect(CLI::App& app) {
  struct State {
    std::string path;
    bool json = false;
  };
  auto state = std::make_shared<State>();
  app.add_option("file", state->path, "A weight file; of ncnn's models the .bin, or X.whl:MODEL")->required();
  app.add_flag("--json", state->json, "Print everything as JSON, every tensor named");
  app.footer("Example:\n  resflow inspect compact.safetensors");
  return [state] { return inspect(state->path, state->json); };
}

}  // namespace resflow::cli
