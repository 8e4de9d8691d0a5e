#include "resflow/samples/tar_shard.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "resflow/captioning/captioner.h"
#include "resflow/core/error.h"
#include "resflow/core/json.h"
#include "resflow/core/parse_json.h"
#include "resflow/image/codec.h"
#include "resflow/restore/picture_list.h"

namespace resflow::samples {
namespace {

constexpr int64_t kLargestPicture = int64_t{1} << 30, kLargestText = int64_t{1} << 20;  // bytes

struct Closer {
  void operator()(archive* shard) const { ::archive_read_free(shard); }
};
using Archive = std::unique_ptr<archive, Closer>;

// libvips reads files: bytes as one, in memory.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : file_(::memfd_create("sample", MFD_CLOEXEC)) {
    for (size_t done = 0; file_ >= 0 && done < bytes.size();) {
      const auto written = ::write(file_, bytes.data() + done, bytes.size() - done);
      if (written <= 0) break;
      done += static_cast<size_t>(written);
    }
  }
  ~MemoryFile() { ::close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return fmt::format("/proc/self/fd/{}", file_); }

 private:
  int file_;
};

// Messages name the member, not the file in memory.
Tensor decoded(const std::string& bytes, const std::string& where) {
  const MemoryFile file(bytes);
  try {
    return image::read_picture(file.path()).pixels;
  } catch (const UserError& error) {
    std::string text = error.what();
    if (const auto at = text.find(file.path()); at != std::string::npos) text.replace(at, file.path().size(), where);
    throw UserError(text);
  }
}

struct Member {
  std::string name, key, kind;  // "00/000123.poor.jpg", "00/000123", "poor.jpg"
};

Member member_of(const std::string& name) {
  const auto slash = name.rfind('/');
  const auto dot = name.find('.', slash == std::string::npos ? 0 : slash + 1);
  Member out{.name = name, .key = name.substr(0, dot), .kind = dot == std::string::npos ? "" : name.substr(dot + 1)};
  std::transform(out.kind.begin(), out.kind.end(), out.kind.begin(), [](unsigned char c) { return std::tolower(c); });
  if (out.key.starts_with("./")) out.key.erase(0, 2);
  return out;
}

// "caption" or "text" of a JSON object; nullopt where there is neither.
std::optional<std::string> caption_in(const std::string& text) {
  const Json json = parse_json(text);
  for (const char* key : {"caption", "text"})
    if (json.is_object() && json.contains(key) && json.at(key).is_string()) return json.at(key).get<std::string>();
  return std::nullopt;
}

class Shard {
 public:
  Shard(const std::filesystem::path& path, const Reading& reading, const std::function<void(const Sample&)>& take, std::vector<Skipped>& skipped)
      : path_(path), reading_(reading), take_(take), skipped_(skipped), archive_(::archive_read_new()) {
    ::archive_read_support_filter_all(archive_.get());
    ::archive_read_support_format_tar(archive_.get());
    constexpr size_t kBlock = 1 << 16;
    open_ = ::archive_read_open_filename(archive_.get(), path.c_str(), kBlock) == ARCHIVE_OK;
  }

  void each() {
    if (!open_) return skip(path_.string(), "cannot be read: " + complaint());
    for (archive_entry* entry = nullptr;;) {
      const int got = ::archive_read_next_header(archive_.get(), &entry);
      if (got == ARCHIVE_EOF) break;
      if (got < ARCHIVE_WARN) {
        damaged();
        return;
      }
      const char* name = ::archive_entry_pathname_utf8(entry);
      if (name == nullptr) name = ::archive_entry_pathname(entry);
      if (name == nullptr || ::archive_entry_filetype(entry) != AE_IFREG) continue;
      const Member member = member_of(name);
      if (std::filesystem::path(name).filename().string().starts_with('.')) continue;
      if (member.key != key_) finish();
      key_ = member.key;
      if (!add(member, ::archive_entry_size(entry))) return;
    }
    finish();
  }

 private:
  std::string complaint() const {
    const char* text = ::archive_error_string(archive_.get());
    return text == nullptr ? "unknown" : text;
  }
  std::string at(const std::string& member) const { return path_.string() + ": " + member; }
  void skip(const std::string& where, const std::string& problem) { skipped_.push_back({where, problem}); }

  // What stands before the damage is good.
  void damaged() {
    const std::string cut = key_;
    finish();
    skip(path_.string(), fmt::format("damaged{}, the rest is lost: {}", cut.empty() ? "" : " at '" + cut + "'", complaint()));
  }

  // Whether the shard can be read on.
  bool add(const Member& member, int64_t size) {
    const bool poor = member.kind.starts_with("poor.");
    const std::string kind = poor ? member.kind.substr(5) : member.kind;
    const bool picture = restore::named_as_picture("x." + kind), text = member.kind == "txt" || member.kind == "json";
    if (!picture && !text) return true;
    if (picture && !poor && !picture_.empty()) {
      skip(at(member.name), "a second picture of this key");
      return true;
    }
    if (size > (picture ? kLargestPicture : kLargestText)) {
      skip(at(member.name), fmt::format("too large: {} bytes", size));
      return true;
    }
    std::string bytes;
    if ((text || reading_.pixels) && !read(size, bytes)) {
      if (picture) {  // half a sample is none
        picture_.clear();
        poor_.clear();
        text_.reset();
      }
      damaged();
      return false;
    }
    if (picture && poor) {
      poor_ = member.name;
      poor_bytes_ = std::move(bytes);
    } else if (picture) {
      picture_ = member.name;
      bytes_ = std::move(bytes);
    } else if (member.kind == "txt") {
      text_ = bytes;
    } else if (!text_) {
      text_ = caption_in(bytes);
    }
    return true;
  }

  bool read(int64_t size, std::string& bytes) {
    bytes.resize(static_cast<size_t>(std::max<int64_t>(size, 0)));
    size_t done = 0;
    while (done < bytes.size()) {
      const auto got = ::archive_read_data(archive_.get(), bytes.data() + done, bytes.size() - done);
      if (got <= 0) return false;
      done += static_cast<size_t>(got);
    }
    return true;
  }

  void finish() {
    if (!picture_.empty()) {
      Sample sample{.name = key_, .file = std::filesystem::path(picture_).filename(), .where = at(picture_), .text = {}, .pixels = nullptr};
      if (text_) sample.text = captioning::tidy_caption(*text_);
      sample.pixels = [this] { return decoded(bytes_, at(picture_)); };
      if (!poor_.empty()) sample.poor = [this] { return decoded(poor_bytes_, at(poor_)); };
      take_(sample);
    } else if (text_ || !poor_.empty()) {
      skip(at(key_), "no picture of this key");
    }
    key_.clear();
    picture_.clear();
    poor_.clear();
    bytes_.clear();
    poor_bytes_.clear();
    text_.reset();
  }

  const std::filesystem::path& path_;
  const Reading& reading_;
  const std::function<void(const Sample&)>& take_;
  std::vector<Skipped>& skipped_;
  Archive archive_;
  bool open_ = false;
  std::string key_, picture_, poor_;  // members' names
  std::string bytes_, poor_bytes_;
  std::optional<std::string> text_;
};

}  // namespace

void each_in_tar(const std::filesystem::path& shard, const Reading& reading, const std::function<void(const Sample&)>& take,
                 std::vector<Skipped>& skipped) {
  Shard(shard, reading, take, skipped).each();
}

}  // namespace resflow::samples
