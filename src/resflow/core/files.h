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

// Removes what write_atomically left in the folder when its process was killed; files of processes that run are kept.
void remove_leftovers(const std::filesystem::path& folder);

// Creates the folder and those above it, where they are missing. Throws UserError where it cannot be, or where nothing could be
// written into it (a read-only disk, missing rights). "" is the current folder.
void create_folder(const std::filesystem::path& folder);

// The whole file. Throws UserError where it cannot be read.
std::string read_text(const std::filesystem::path& path);

}  // namespace resflow
