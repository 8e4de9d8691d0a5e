// Weight files of others that a reward or a metric reads and that are not shipped: where they lie, and where they come from.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace resflow::rewards {

struct PublicFile {
  std::string name;                      // under rewards/ of the data folder: a file or a folder
  std::string origin;                    // who publishes it
  std::string licence;                   // its licence, as published
  std::vector<std::string> other_names;  // other spellings of it, which are looked for first
};

// The first of the names that data_file("rewards/NAME") finds. Throws UserError: what is missing, where it was looked for, where it comes from
// and its licence.
std::filesystem::path find_public_file(const PublicFile& file);

// What a reward asks for that is not shipped, so that it can be told before anything is read.
struct PublicNeeds {
  std::vector<PublicFile> files;
  bool caption = false;
};

// Folders in the layout of transformers: model.safetensors, config.json, vocab.json, merges.txt.
PublicFile clip_folder(const std::string& model);  // "clip-vit-large-patch14"
// Torchvision's state dicts of the networks trained on ImageNet.
PublicFile alexnet_file();
PublicFile vgg16_file();

}  // namespace resflow::rewards
