#include "resflow/restore/watch.h"

#include <map>
#include <thread>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/restore/hot_folder.h"

namespace resflow::restore {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kLook{500};

}  // namespace

void check_watch(const std::vector<std::string>& inputs, const fs::path& output) {
  for (const auto& input : inputs) {
    if (!fs::is_directory(input)) throw_user_error({.where = "--watch", .problem = "not a folder", .wanted = "folders to watch", .got = input});
    std::error_code ignored;
    if (fs::equivalent(input, output, ignored))
      throw_user_error({.where = output.string(), .problem = "results would be put into the watched folder", .hint = "Choose another --output"});
  }
  if (fs::exists(output) && !fs::is_directory(output))
    throw_user_error({.where = output.string(), .problem = "is a file", .wanted = "a folder for the results"});
}

void watch(const Restorer& restorer, const WatchOptions& options, const BatchOptions& batch, const Job& job,
           const std::function<void(const Json&)>& on_item) {
  check_watch(options.inputs, options.output);
  create_folder(options.output);
  HotFolder folder(options.settle);
  std::map<fs::path, fs::path> taken;  // results and what they were made of
  const FindOptions find{.recursive = options.recursive, .may_be_empty = true, .skip = options.output};
  while (!job.stop.stop_requested()) {
    std::vector<BatchItem> items;
    for (const auto& picture : folder.ready(find_pictures(options.inputs, find))) {
      try {
        const BatchItem item = plan_batch({picture}, options.inputs, options.output / "", options.format).at(0);
        const auto [other, fresh] = taken.emplace(item.output.lexically_normal(), item.input);
        if (!fresh && other->second != item.input)
          throw_user_error({.where = item.output.string(),
                            .problem = "two pictures would be written there: " + other->second.string() + " and " + item.input.string(),
                            .hint = "Rename one of them"});
        items.push_back(item);
      } catch (const UserError& error) {
        on_item({{"input", picture.file.string()}, {"error", error.what()}});
      }
    }
    if (items.empty()) {
      std::this_thread::sleep_for(kLook);
    } else {
      run_batch(restorer, items, batch, job, on_item);
    }
  }
}

}  // namespace resflow::restore
