#include "resflow/rewards/public_file.h"

#include <fmt/format.h>

#include "resflow/core/data_path.h"
#include "resflow/core/error.h"

namespace resflow::rewards {

std::filesystem::path find_public_file(const PublicFile& file) {
  for (const auto& name : file.other_names) {
    try {
      return data_file("rewards/" + name);
    } catch (const UserError&) {  // the first name's complaint tells the folders
    }
  }
  try {
    return data_file("rewards/" + file.name);
  } catch (const UserError& error) {
    std::string others;
    for (const auto& name : file.other_names) others += " or " + name;
    throw UserError(fmt::format("{} rewards/{}{} is not shipped with resflow. It is published at {} ({}).", error.what(), file.name, others,
                                file.origin, file.licence));
  }
}

PublicFile clip_folder(const std::string& model) { return {.name = model, .origin = "https://huggingface.co/openai/" + model, .licence = "MIT"}; }

PublicFile alexnet_file() {
  return {.name = "alexnet-owt-7be5be79.pth",
          .origin = "https://github.com/pytorch/vision (AlexNet_Weights in torchvision/models/alexnet.py names the address)",
          .licence = "BSD-3-Clause"};
}

PublicFile vgg16_file() {
  return {.name = "vgg16-397923af.pth",
          .origin = "https://github.com/pytorch/vision (VGG16_Weights in torchvision/models/vgg.py names the address)",
          .licence = "BSD-3-Clause"};
}

}  // namespace resflow::rewards
