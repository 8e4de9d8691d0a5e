#include "resflow/restore/batch.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <set>

#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/image/resize.h"
#include "resflow/image/side_by_side.h"
#include "resflow/restore/trace_files.h"

namespace resflow::restore {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> expand_glob(const std::string& pattern) {
  glob_t found{};
  std::vector<fs::path> out;
  if (::glob(pattern.c_str(), GLOB_TILDE, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i)
      if (!fs::is_directory(found.gl_pathv[i])) out.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  return out;
}

// What can be read and not written, by its extension.
bool only_readable(const fs::path& path) {
  static const std::set<std::string> extensions{".heic", ".heif", ".jxl", ".gif", ".bmp", ".ppm", ".pgm", ".pnm"};
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extensions.contains(extension);
}
bool named_as_picture(const fs::path& path) { return only_readable(path) || !image::format_of_extension(path).empty(); }

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> out;
  for (const auto& item : fs::directory_iterator(folder))
    if (item.is_regular_file() && !item.path().filename().string().starts_with('.') && named_as_picture(item.path())) out.push_back(item.path());
  std::sort(out.begin(), out.end());
  return out;
}

fs::path result_name(const fs::path& input, const std::string& format) {
  std::string extension = format;
  if (format == "auto") {
    const std::string own = image::format_of_extension(input);
    extension = !own.empty() && image::can_write(own) ? input.extension().string().substr(1) : "png";
  }
  return input.stem().string() + "." + extension;
}

Json restore_one(const Restorer& restorer, const BatchItem& item, const BatchOptions& options, const fs::path& trace, const Job& job) {
  const image::Picture source = image::read_picture(item.input, options.limits);
  std::optional<TraceWriter> writer;
  if (!trace.empty()) writer.emplace(trace, options.trace_pictures);
  const Restored restored = restorer.restore(source, options.restore, options.search, job, writer ? writer->watch() : SearchWatch{});
  auto notes = source.notes;
  for (auto& note : write_restored(item.output, restored, options.encode)) notes.push_back(std::move(note));
  Json entry = {{"input", item.input.string()}, {"output", item.output.string()}};
  entry.update(restored.manifest);
  if (!notes.empty()) entry["notes"] = notes;
  if (writer) {
    writer->write(restored, item.input, item.output);
    entry["trace"] = trace.string();
  }
  if (!options.compare.empty()) {
    const Tensor& pixels = restored.picture.pixels;
    const Tensor before = image::resize(source.pixels, pixels.size(1), pixels.size(2)).clamp_(0, 1);
    image::Picture sheet;
    sheet.pixels = image::side_by_side({before, pixels});
    image::write_picture(options.compare, sheet);
    entry["compare"] = options.compare.string();
  }
  return entry;
}

}  // namespace

std::vector<fs::path> list_pictures(const std::vector<std::string>& inputs) {
  std::vector<fs::path> out;
  std::set<fs::path> seen;
  for (const auto& input : inputs) {
    std::vector<fs::path> here;
    if (fs::is_directory(input)) {
      here = pictures_in(input);
      if (here.empty()) throw_user_error({.where = input, .problem = "the folder has no pictures"});
    } else if (!fs::exists(input) && input.find_first_of("*?[") != std::string::npos) {
      here = expand_glob(input);
      if (here.empty()) throw_user_error({.where = input, .problem = "the pattern matches no file"});
    } else {
      here = {input};  // missing files are told one by one, after the rest is done
    }
    for (auto& path : here)
      if (seen.insert(path.lexically_normal()).second) out.push_back(std::move(path));
  }
  return out;
}

std::vector<BatchItem> plan_batch(const std::vector<std::string>& inputs, const fs::path& output, const std::string& format) {
  const auto files = list_pictures(inputs);
  if (files.empty()) throw_user_error({.where = "inputs", .problem = "no picture"});
  const bool named_folder = !output.has_filename() || fs::is_directory(output);
  if (!named_folder && only_readable(output))
    throw_user_error(
        {.where = output.string(), .problem = "this format cannot be written", .wanted = "an extension .png .jpg .webp .tif .avif, or a folder"});
  const bool single_file = files.size() == 1 && !fs::is_directory(inputs[0]) && !named_folder && !image::format_of_extension(output).empty();
  if (!single_file && !named_folder && output.has_extension() && !image::format_of_extension(output).empty())
    throw_user_error(
        {.where = output.string(), .problem = fmt::format("{} inputs, one output file", files.size()), .wanted = "a folder as --output"});
  if (!single_file && fs::exists(output) && !fs::is_directory(output))
    throw_user_error({.where = output.string(), .problem = "is a file", .wanted = "a folder, or a file with a picture's extension"});
  std::vector<BatchItem> items;
  std::map<fs::path, fs::path> taken;
  std::set<fs::path> sources;
  std::error_code ignored;
  for (const auto& input : files) sources.insert(fs::weakly_canonical(input, ignored));
  for (const auto& input : files) {
    const fs::path to = single_file ? output : output / result_name(input, format);
    if (const auto [other, fresh] = taken.emplace(to.lexically_normal(), input); !fresh)
      throw_user_error({.where = to.string(),
                        .problem = "two inputs would be written there: " + other->second.string() + " and " + input.string(),
                        .hint = "Restore them into different folders"});
    if (fs::equivalent(to, input, ignored) || sources.contains(fs::weakly_canonical(to, ignored)))
      throw_user_error({.where = to.string(), .problem = "the result would replace a source", .hint = "Choose another --output"});
    if (const std::string own = image::format_of_extension(to); !image::can_write(own))
      throw_user_error({.where = to.string(), .problem = "the installed libvips cannot write " + own, .hint = "Use --format png"});
    items.push_back({input, to});
  }
  return items;
}

std::vector<std::string> write_restored(const fs::path& path, const Restored& restored, image::EncodeOptions encode) {
  Json told = restored.manifest;
  told.erase("seconds");  // the same picture is the same file
  encode.text["parameters"] = parameters_text(told);
  encode.text["resflow"] = told.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (restored.picture.grey) encode.grey = true;
  return image::write_picture(path, restored.picture, encode);
}

BatchResult run_batch(const Restorer& restorer, const std::vector<BatchItem>& items, const BatchOptions& options, const Job& job,
                      const std::function<void(const Json&)>& on_item) {
  BatchResult result;
  if (!items.empty()) create_folder(items.front().output.parent_path());
  if (!options.compare.empty()) create_folder(options.compare.parent_path());
  const bool folder = items.size() > 1 || !options.trace.has_filename() || fs::is_directory(options.trace);
  if (!options.trace.empty()) create_folder(folder ? options.trace : options.trace.parent_path());
  for (const auto& item : items) {
    Json entry;
    try {
      job.throw_if_stopped();
      const fs::path trace = options.trace.empty() || !folder ? options.trace : options.trace / (item.output.stem().string() + ".json");
      entry = restore_one(restorer, item, options, trace, job);
    } catch (const UserError& error) {
      entry = {{"input", item.input.string()}, {"error", error.what()}};
    } catch (const std::bad_alloc& error) {
      entry = {{"input", item.input.string()}, {"error", readable_message(error)}};
    } catch (const c10::Error& error) {
      if (!readable_message(error).starts_with("out of memory")) throw;
      entry = {{"input", item.input.string()}, {"error", readable_message(error)}};
    }
    if (entry.contains("error")) ++result.failed;
    on_item(entry);
    result.items.push_back(std::move(entry));
  }
  return result;
}

std::string parameters_text(const Json& manifest) {
  const auto& options = manifest.at("options");
  return fmt::format("Steps: {}, Sampler: {}, Seed: {}, Size: {}x{}, Model hash: {}, Model: {}, Denoising strength: {}, Sigma s: {}, Version: {}",
                     options.at("steps").dump(), options.at("sampler").get<std::string>(), options.at("seed").dump(),
                     manifest.at("result").at("width").dump(), manifest.at("result").at("height").dump(),
                     manifest.at("model").at("fingerprint").get<std::string>(), manifest.at("model").at("name").get<std::string>(),
                     options.at("strength").dump(), options.at("sigma_s").dump(), manifest.at("program").get<std::string>());
}

}  // namespace resflow::restore
