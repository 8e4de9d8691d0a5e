// Weight files of others that a reward or a metric reads and that are not shipped: where they lie, and where they come from.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>

namespace resflow::rewards {

struct PublicFile {
  std::string name;     // under rewards/ of the data folder: a file or a folder
  std::string origin;   // who publishes it
  std::string licence;  // its licence, as published
};

// The first of `names` (other spellings of one file) that data_file("rewards/NAME") finds. Throws UserError: what is missing, where it was
// looked for, where it comes from and its licence.
std::filesystem::path find_public_file(const PublicFile& file, std::initializer_list<std::string> other_names = {});

// Folders in the layout of transformers: model.safetensors, config.json, vocab.json, merges.txt.
PublicFile clip_folder(const std::string& model);  // "clip-vit-large-patch14"
// Torchvision's state dicts of the networks trained on ImageNet.
PublicFile alexnet_file();
PublicFile vgg16_file();

}  // namespace resflow::rewards
