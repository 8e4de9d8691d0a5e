#include "resflow/weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "resflow/core/error.h"

namespace resflow::weights {

MappedFile::MappedFile(const std::filesystem::path& path, std::string_view where) {
  const auto fail = [&](const std::string& problem, const std::string& hint = "") {
    throw_user_error({.where = std::string(where), .problem = path.string() + ": " + problem, .hint = hint});
  };
  // Not blocking: opening a named pipe would wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(std::string("cannot be opened: ") + std::strerror(errno));
  struct stat status {};
  void* memory = MAP_FAILED;
  int why = ::fstat(fd, &status) == 0 ? 0 : errno;
  if (why == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
    size_ = static_cast<size_t>(status.st_size);
    // Writable and private, so that a weight may be updated in place; no swap is set aside for pages nobody writes.
    memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (memory == MAP_FAILED) why = errno;
  }
  ::close(fd);
  if (why != 0) fail(std::string("cannot be read: ") + std::strerror(why));
  if (S_ISDIR(status.st_mode)) fail("is a folder");
  if (!S_ISREG(status.st_mode)) fail("is not a plain file");
  if (status.st_size == 0) fail("is empty", "Perhaps an incomplete download?");
  data_ = static_cast<char*>(memory);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace resflow::weights
