#include "resflow/core/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <regex>
#include <sstream>

#include "resflow/core/error.h"

namespace resflow {
namespace {

std::filesystem::path temporary_beside(const std::filesystem::path& target) {
  static std::atomic<unsigned> count{0};
  // The extension stays last: encoders choose the format by it.
  return target.parent_path() /
         ("." + target.stem().string() + ".part" + std::to_string(::getpid()) + "-" + std::to_string(count++) + target.extension().string());
}

void flush_to_disk(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool good = fd >= 0 && ::fsync(fd) == 0;
  const int why = errno;
  if (fd >= 0) ::close(fd);
  if (!good) throw_user_error({.where = path.string(), .problem = std::string("cannot be written: ") + std::strerror(why)});
}

}  // namespace

void write_atomically(const std::filesystem::path& target, const std::function<void(const std::filesystem::path&)>& write) {
  const auto temporary = temporary_beside(target);
  std::error_code ignored;
  try {
    write(temporary);
    flush_to_disk(temporary);
    std::filesystem::rename(temporary, target);
  } catch (const std::filesystem::filesystem_error& error) {
    std::filesystem::remove(temporary, ignored);
    throw_user_error({.where = target.string(), .problem = "cannot be written: " + error.code().message()});
  } catch (...) {
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

void write_text_atomically(const std::filesystem::path& target, std::string_view text) {
  write_atomically(target, [&](const std::filesystem::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    out.close();
    if (!out) throw_user_error({.where = target.string(), .problem = std::string("cannot be written: ") + std::strerror(errno)});
  });
}

void remove_leftovers(const std::filesystem::path& folder) {
  static const std::regex pattern(R"(\..*\.part([0-9]{1,9})-[0-9]+(\.[^.]*)?)");
  std::error_code ignored;
  for (const auto& item : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = item.path().filename().string();
    std::smatch match;
    if (!std::regex_match(name, match, pattern) || !item.is_regular_file(ignored)) continue;
    const auto process = static_cast<pid_t>(std::stol(match[1]));
    if (process == ::getpid() || (::kill(process, 0) != 0 && errno == ESRCH)) std::filesystem::remove(item.path(), ignored);
  }
}

void create_folder(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder.empty() ? "." : folder;
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw_user_error({.where = path.string(), .problem = "the folder cannot be created: " + error.message()});
  if (::access(path.c_str(), W_OK | X_OK) != 0)
    throw_user_error({.where = path.string(), .problem = std::string("the folder cannot be written to: ") + std::strerror(errno)});
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || std::filesystem::is_directory(path))
    throw_user_error({.where = path.string(),
                      .problem = std::string("cannot be read: ") + (std::filesystem::is_directory(path) ? "is a folder" : std::strerror(errno))});
  return text.str();
}

}  // namespace resflow
