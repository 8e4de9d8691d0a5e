// Which pictures a command works on, and where each result goes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace resflow::restore {

struct BatchItem {
  std::filesystem::path input, output;
};

struct FoundPicture {
  std::filesystem::path file;
  std::filesystem::path below;  // its folder within the folder that was named; "" for files named themselves and for that folder's own
};

struct FindOptions {
  bool recursive = false;      // subfolders too; hidden ones and links to folders are left out
  bool may_be_empty = false;   // folders without pictures are no error
  std::filesystem::path skip;  // a folder that is not entered: the results'
};

// Whether a file of this name is taken for a picture where a folder is looked through.
bool named_as_picture(const std::filesystem::path& path);

// Every picture of `inputs`: files, folders (their pictures, sorted by name) and globs (*, ?, in any part of the path), each once. Files
// that are not there stay in the list. Throws UserError: a folder without pictures, a glob without files.
std::vector<FoundPicture> find_pictures(const std::vector<std::string>& inputs, const FindOptions& options = {});
// The same, paths alone.
std::vector<std::filesystem::path> list_pictures(const std::vector<std::string>& inputs);

// output: a file (one input only, and no folder) or a folder. In a folder each result keeps its input's stem and the folders it was found below;
// its extension is `format` ("auto": the input's own, png where that cannot be written). inputs: what was asked for, which tells whether one
// file was meant. Throws UserError: no input, two results of one name, a result that would replace an input or a format that cannot be written.
std::vector<BatchItem> plan_batch(const std::vector<FoundPicture>& pictures, const std::vector<std::string>& inputs,
                                  const std::filesystem::path& output, const std::string& format);
std::vector<BatchItem> plan_batch(const std::vector<std::string>& inputs, const std::filesystem::path& output, const std::string& format);

}  // namespace resflow::restore
