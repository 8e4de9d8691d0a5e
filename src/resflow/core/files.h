// Files written whole or not at all.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace resflow {

// Calls write(temporary) with a path beside `target`, flushes it to disk and renames it over `target`. On any failure the
// temporary is removed and `target` is untouched. Throws UserError (unwritable, disk full) or what `write` throws.
void write_atomically(const std::filesystem::path& target, const std::function<void(const std::filesystem::path&)>& write);
void write_text_atomically(const std::filesystem::path& target, std::string_view text);

// The whole file. Throws UserError where it cannot be read.
std::string read_text(const std::filesystem::path& path);

}  // namespace resflow
