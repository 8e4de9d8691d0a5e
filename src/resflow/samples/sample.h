// Pictures to train on, and their texts, in whatever they come: folders with NAME.txt beside NAME.jpg, webdataset's tar shards, a list in JSON lines.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "resflow/core/tensor.h"

namespace resflow::samples {

struct Sample {
  std::string name;                        // of a file its stem; in a tar shard the key, with the folders before it: "00/000123"
  std::string file;                        // the picture's file name, without folders
  std::string where;                       // for messages: "photos/a.png", "train-0001.tar: 00/000123.jpg"
  std::optional<std::string> text;         // one line; nullopt where there is none
  std::function<Tensor()> pixels;          // float [3, H, W], 0..1. Throws UserError: damaged, missing
  std::function<Tensor()> poor = nullptr;  // the poor version that came along, of any size; null where none did
};

// What is passed over, and why.
struct Skipped {
  std::string where, problem;
};

struct Reading {
  bool pixels = true;  // false: names and texts alone are wanted, and no picture's bytes are read; `pixels` and `poor` may not be called
};

// Whether `path` is a tar shard (.tar, .tar.gz, .tgz, .tar.zst, .tar.xz) or a list (.jsonl), by its name.
bool is_sample_file(const std::string& path);

// Calls take() for each sample of `inputs`, in order; a Sample's functions may be called until it returns. Inputs:
//   pictures, folders, globs  as restore::list_pictures() takes them
//   X.tar                     members of one key ("00/000123" of 00/000123.jpg; webdataset's: up to the name's first dot) are one sample: a picture;
//                             KEY.poor.EXT, the poor version; the text, KEY.txt, else "caption" or "text" of KEY.json. Others are not looked at
//   X.jsonl                   {"image": path, "caption": text, "poor": path} a line, the last two if wished; also Hugging Face's "file_name" and
//                             "text". Paths are from the list's folder
// A line that is none, a key without a picture, a member that is too large (1 GiB, texts 1 MiB) and the rest of a damaged shard are passed over and
// returned; so is a shard or list that cannot be opened. Throws UserError as list_pictures() does; what take() throws.
std::vector<Skipped> each_sample(const std::vector<std::string>& inputs, const Reading& reading, const std::function<void(const Sample&)>& take);

}  // namespace resflow::samples
