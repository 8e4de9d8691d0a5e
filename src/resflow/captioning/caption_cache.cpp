#include "resflow/captioning/caption_cache.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <cstdlib>

#include "resflow/core/error.h"
#include "resflow/core/files.h"

namespace resflow::captioning {

namespace fs = std::filesystem;

CaptionCache::CaptionCache(bool enabled) {
  if (!enabled) return;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/')
    folder_ = fs::path(cache) / "resflow" / "captions";
  else if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/')
    folder_ = fs::path(home) / ".cache" / "resflow" / "captions";
}

std::optional<std::string> CaptionCache::find(const std::string& key) const {
  std::error_code none;
  const auto file = folder_ / (key + ".txt");
  if (folder_.empty() || !fs::is_regular_file(file, none)) return std::nullopt;
  try {
    auto text = read_text(file);
    if (text.empty()) return std::nullopt;
    return text;
  } catch (const UserError&) {
    return std::nullopt;
  }
}

void CaptionCache::add(const std::string& key, const std::string& caption) const {
  if (folder_.empty()) return;
  try {
    create_folder(folder_);
    write_text_atomically(folder_ / (key + ".txt"), caption);
  } catch (const UserError&) {  // a cache is no reason to fail
  }
}

std::string CaptionCache::key(const std::string& asked) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(asked.data(), asked.size(), digest.data(), &size, EVP_sha256(), nullptr);
  std::string out;
  for (unsigned int i = 0; i < size; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

}  // namespace resflow::captioning
