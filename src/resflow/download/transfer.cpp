#include "resflow/download/transfer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/download/connection.h"
#include "resflow/download/digest.h"

namespace resflow::download {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostText = 16 << 20;

std::string shown(const RemoteFile& file) { return file.name.empty() ? file.url : file.name; }

bool may_pass(int status) { return status == 0 || status == 200 || status == 206 || status == 408 || status == 429 || status >= 500; }

// Why a reply is of no use, for good or after all retries.
[[noreturn]] void fail(const RemoteFile& file, const Reply& reply, const TransferOptions& options) {
  const bool forbidden = reply.status == 401 || reply.status == 403;
  std::string hint;
  if (forbidden) hint = options.hint_where_forbidden;
  if (reply.status == 0) hint = "Is there a network, and does https_proxy say how to reach it? What was fetched is kept: the same command goes on";
  const bool cut = reply.status == 200 || reply.status == 206;
  if (cut) hint = "What was fetched is kept: the same command goes on";
  throw_user_error({.where = "pull",
                    .problem = fmt::format("{}: {}", file.url,
                                           reply.status == 0     ? "no connection (" + reply.error + ")"
                                           : forbidden           ? fmt::format("the server does not give it to us (HTTP {})", reply.status)
                                           : reply.status == 404 ? "the server has no such file (HTTP 404)"
                                           : cut                 ? "the connection broke (" + reply.error + ")"
                                                 : fmt::format("HTTP {}{}", reply.status, reply.error.empty() ? "" : ", " + reply.error)),
                    .hint = hint});
}

// "TARGET.part", open and ours alone.
class Part {
 public:
  explicit Part(const fs::path& target) : path_(target.string() + ".part") {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) throw_user_error({.where = path_.string(), .problem = std::string("cannot be written: ") + std::strerror(errno)});
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      ::close(fd_);
      throw_user_error({.where = path_.string(), .problem = "another process fetches the same file"});
    }
  }
  ~Part() {
    if (size() == 0) remove();
    ::close(fd_);
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  const fs::path& path() const { return path_; }
  int64_t size() const { return ::lseek(fd_, 0, SEEK_END); }
  void clear() {
    if (::ftruncate(fd_, 0) != 0) fail();
  }
  void append(const char* bytes, size_t count) {
    ::lseek(fd_, 0, SEEK_END);
    while (count > 0) {
      const auto written = ::write(fd_, bytes, count);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail();
      bytes += written;
      count -= static_cast<size_t>(written);
    }
  }
  void move_to(const fs::path& target) {
    if (::fsync(fd_) != 0) fail();
    std::error_code error;
    fs::rename(path_, target, error);
    if (error) throw_user_error({.where = target.string(), .problem = "cannot be written: " + error.message()});
  }
  void remove() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }

 private:
  [[noreturn]] void fail() const {
    throw_user_error({.where = path_.string(), .problem = std::string("cannot be written: ") + std::strerror(errno)});
  }
  fs::path path_;
  int fd_ = -1;
};

// "" where the file is what it should be, else what is wrong.
std::string fault_of(const RemoteFile& file, const fs::path& path) {
  std::error_code ignored;
  const auto size = static_cast<int64_t>(fs::file_size(path, ignored));
  if (file.size >= 0 && size != file.size) return fmt::format("wanted {} bytes, got {}", file.size, size);
  const auto differs = [](const std::string& wanted, const std::string& got) {
    return wanted == got ? "" : fmt::format("wanted the checksum {}, got {}", wanted, got);
  };
  if (!file.sha256.empty()) return differs(file.sha256, sha256_of(path));
  return file.git_blob.empty() ? "" : differs(file.git_blob, git_blob_of(path));
}

[[noreturn]] void throw_unexpected(const RemoteFile& file, Part& part, const std::string& fault) {
  part.remove();
  throw_user_error({.where = "pull",
                    .problem = file.url + ": not the file that was expected: " + fault,
                    .hint = "It was thrown away. A damaged transfer, a login page in between, or the file was changed since"});
}

void check_room(const RemoteFile& file, const Part& part) {
  std::error_code error;
  const auto room = fs::space(part.path().parent_path().empty() ? "." : part.path().parent_path(), error);
  if (error || file.size < 0 || static_cast<int64_t>(room.available) >= file.size - part.size()) return;
  throw_user_error({.where = part.path().string(),
                    .problem = "no room on the disk",
                    .wanted = fmt::format("{:.1f} GB", static_cast<double>(file.size - part.size()) / 1e9),
                    .got = fmt::format("{:.1f} GB", static_cast<double>(room.available) / 1e9),
                    .hint = "Choose another folder with --to"});
}

// One connection: goes on after what is there. Whether another one is worth it is in the reply.
Reply fetch_more(const RemoteFile& file, Part& part, const Job& job) {
  const auto report = [&] {
    const int64_t done = part.size() / 1000000, of = file.size < 0 ? 0 : std::max<int64_t>(1, file.size / 1000000);
    job.report({.stage = shown(file) + ", MB", .done = done, .of = of});
  };
  std::string wrong_size;  // what the server has instead
  Request request{.url = file.url, .token = file.token, .from = part.size()};
  request.on_head = [&](const Reply& head) {
    const bool goes_on = head.status == 206 && head.content_range.starts_with(fmt::format("bytes {}-", request.from));
    if (request.from > 0 && !goes_on) part.clear();  // the server begins again
    const int64_t whole = head.content_length + part.size();
    if (head.content_length >= 0 && file.size >= 0 && whole != file.size) wrong_size = std::to_string(whole);
    return wrong_size.empty() && (head.status == 200 || goes_on);
  };
  request.on_bytes = [&](const char* bytes, size_t count) {
    if (file.size >= 0 && part.size() + static_cast<int64_t>(count) > file.size) wrong_size = "more";
    if (!wrong_size.empty()) return false;
    part.append(bytes, count);
    report();
    return !job.stop.stop_requested();
  };
  Reply reply = get(request);
  job.throw_if_stopped();
  if (!wrong_size.empty()) throw_unexpected(file, part, fmt::format("wanted {} bytes, got {}", file.size, wrong_size));
  if (reply.status == 416) {  // nothing after what is there, which is therefore not what it should be
    part.clear();
    reply = {.status = 206, .error = "begun again"};
  }
  return reply;
}

void wait(double seconds, const Job& job) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    job.throw_if_stopped();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

Fetched fetch(const RemoteFile& file, const fs::path& target, const TransferOptions& options, const Job& job) {
  if (fs::is_regular_file(target) && fault_of(file, target).empty()) return Fetched::there_before;
  create_folder(target.parent_path());
  Part part(target);
  if (file.size >= 0 && part.size() > file.size) part.clear();
  check_room(file, part);
  double pause = options.first_pause;
  for (int left = options.retries; file.size < 0 || part.size() < file.size;) {
    const int64_t before = part.size();
    const Reply reply = fetch_more(file, part, job);
    if (reply.complete && (reply.status == 200 || reply.status == 206)) break;
    if (part.size() > before) {
      left = options.retries;
      pause = options.first_pause;
    }
    if (!may_pass(reply.status) || left == 0) fail(file, reply, options);
    --left;
    wait(pause, job);
    pause *= 2;
  }
  if (const auto fault = fault_of(file, part.path()); !fault.empty()) throw_unexpected(file, part, fault);
  part.move_to(target);
  return Fetched::now;
}

std::string fetch_text(const std::string& url, const std::string& token, const TransferOptions& options) {
  double pause = options.first_pause;
  for (int left = options.retries;; --left) {
    std::string body;
    const Reply reply = get({.url = url, .token = token, .on_bytes = [&](const char* bytes, size_t count) {
                               body.append(bytes, count);
                               return static_cast<int64_t>(body.size()) <= kMostText;
                             }});
    if (reply.complete && reply.status == 200) return body;
    if (!may_pass(reply.status) || left == 0) fail({.url = url}, reply, options);
    wait(pause, {});
    pause *= 2;
  }
}

}  // namespace resflow::download
