// A file's bytes in memory, fetched page by page when touched.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace resflow::weights {

// Private mapping: writing to the memory copies the page and never reaches the file.
class MappedFile {
 public:
  // Throws UserError where the file cannot be opened, is not a plain file or is empty. `where` begins the message.
  MappedFile(const std::filesystem::path& path, std::string_view where);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace resflow::weights
