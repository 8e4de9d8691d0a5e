// Captions that were asked for before: a small file each, named by what was asked.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace resflow::captioning {

class CaptionCache {
 public:
  // $XDG_CACHE_HOME/resflow/captions, or ~/.cache/resflow/captions; without a home folder, or disabled, nothing is kept.
  explicit CaptionCache(bool enabled);

  std::optional<std::string> find(const std::string& key) const;
  // Where nothing can be written nothing is kept.
  void add(const std::string& key, const std::string& caption) const;

  // SHA-256 of all that the words depend on, in hexadecimal.
  static std::string key(const std::string& asked);

 private:
  std::filesystem::path folder_;
};

}  // namespace resflow::captioning
