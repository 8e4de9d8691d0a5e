// Checksums of files.
#pragma once

#include <filesystem>
#include <string>

namespace resflow::download {

// 64 hexadecimal digits. Throws UserError where the file cannot be read.
std::string sha256_of(const std::filesystem::path& file);
// Git's name of a file's content: SHA-1 over "blob SIZE\0" and the bytes. 40 hexadecimal digits.
std::string git_blob_of(const std::filesystem::path& file);

}  // namespace resflow::download
