#include "resflow/restore/hot_folder.h"

namespace resflow::restore {

std::vector<FoundPicture> HotFolder::ready(const std::vector<FoundPicture>& found, Clock::time_point now) {
  std::vector<FoundPicture> out;
  std::map<std::filesystem::path, Seen> still;  // what has gone is forgotten
  for (const auto& picture : found) {
    std::error_code gone;
    const auto bytes = std::filesystem::file_size(picture.file, gone);
    if (gone) continue;
    const auto modified = std::filesystem::last_write_time(picture.file, gone);
    if (gone) continue;
    Seen entry{.bytes = bytes, .modified = modified, .since = now};
    if (const auto before = seen_.find(picture.file); before != seen_.end() && before->second.bytes == bytes && before->second.modified == modified)
      entry = before->second;
    if (!entry.given && bytes > 0 && now - entry.since >= settle_) {
      entry.given = true;
      out.push_back(picture);
    }
    still[picture.file] = entry;
  }
  seen_ = std::move(still);
  return out;
}

}  // namespace resflow::restore
