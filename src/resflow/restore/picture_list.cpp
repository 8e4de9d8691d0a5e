#include "resflow/restore/picture_list.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "resflow/core/error.h"
#include "resflow/image/codec.h"

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
bool hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

std::vector<FoundPicture> pictures_in(const fs::path& folder, const FindOptions& options) {
  std::vector<FoundPicture> out;
  std::error_code ignored;
  const fs::path skip = options.skip.empty() ? fs::path() : fs::weakly_canonical(options.skip, ignored);
  for (fs::recursive_directory_iterator item(folder, fs::directory_options::skip_permission_denied), end; item != end; ++item) {
    if (item->is_directory(ignored)) {
      const bool enter = options.recursive && !hidden(item->path()) && (skip.empty() || fs::weakly_canonical(item->path(), ignored) != skip);
      if (!enter) item.disable_recursion_pending();
    } else if (item->is_regular_file(ignored) && !hidden(item->path()) && named_as_picture(item->path())) {
      fs::path below = item->path().parent_path().lexically_relative(folder);
      out.push_back({item->path(), below == "." ? fs::path() : below});
    }
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.file < b.file; });
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

}  // namespace

bool named_as_picture(const fs::path& path) { return only_readable(path) || !image::format_of_extension(path).empty(); }

std::vector<FoundPicture> find_pictures(const std::vector<std::string>& inputs, const FindOptions& options) {
  std::vector<FoundPicture> out;
  std::set<fs::path> seen;
  for (const auto& input : inputs) {
    std::vector<FoundPicture> here;
    if (fs::is_directory(input)) {
      here = pictures_in(input, options);
      if (here.empty() && !options.may_be_empty)
        throw_user_error(
            {.where = input, .problem = "the folder has no pictures", .hint = options.recursive ? "" : "--recursive takes its subfolders too"});
    } else if (!fs::exists(input) && input.find_first_of("*?[") != std::string::npos) {
      for (auto& path : expand_glob(input)) here.push_back({std::move(path), {}});
      if (here.empty() && !options.may_be_empty) throw_user_error({.where = input, .problem = "the pattern matches no file"});
    } else {
      here = {{input, {}}};  // missing files are told one by one, after the rest is done
    }
    for (auto& found : here)
      if (seen.insert(found.file.lexically_normal()).second) out.push_back(std::move(found));
  }
  return out;
}

std::vector<fs::path> list_pictures(const std::vector<std::string>& inputs) {
  std::vector<fs::path> out;
  for (auto& found : find_pictures(inputs)) out.push_back(std::move(found.file));
  return out;
}

std::vector<BatchItem> plan_batch(const std::vector<std::string>& inputs, const fs::path& output, const std::string& format) {
  return plan_batch(find_pictures(inputs), inputs, output, format);
}

std::vector<BatchItem> plan_batch(const std::vector<FoundPicture>& files, const std::vector<std::string>& inputs, const fs::path& output,
                                  const std::string& format) {
  if (files.empty()) throw_user_error({.where = "inputs", .problem = "no picture"});
  const bool named_folder = !output.has_filename() || fs::is_directory(output);
  if (!named_folder && only_readable(output))
    throw_user_error(
        {.where = output.string(), .problem = "this format cannot be written", .wanted = "an extension .png .jpg .webp .tif .avif, or a folder"});
  const bool single_file = files.size() == 1 && !fs::is_directory(inputs.at(0)) && !named_folder && !image::format_of_extension(output).empty();
  if (!single_file && !named_folder && output.has_extension() && !image::format_of_extension(output).empty())
    throw_user_error(
        {.where = output.string(), .problem = fmt::format("{} inputs, one output file", files.size()), .wanted = "a folder as --output"});
  if (!single_file && fs::exists(output) && !fs::is_directory(output))
    throw_user_error({.where = output.string(), .problem = "is a file", .wanted = "a folder, or a file with a picture's extension"});
  std::vector<BatchItem> items;
  std::map<fs::path, fs::path> taken;
  std::set<fs::path> sources;
  std::error_code ignored;
  for (const auto& found : files) sources.insert(fs::weakly_canonical(found.file, ignored));
  for (const auto& [input, below] : files) {
    const fs::path to = single_file ? output : output / below / result_name(input, format);
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

}  // namespace resflow::restore
