// Weight files of others that `resflow pull NAME` fetches, and that go by that name from then on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace resflow::weights {

struct PublicWeights {
  std::string_view name;    // "real-esrgan"
  std::string_view what;    // in words
  std::string_view file;    // its name on the disk
  std::string_view url;     // where its authors publish it
  int64_t size;             // bytes
  std::string_view sha256;  // 64 hexadecimal digits
};

std::span<const PublicWeights> public_weights();
// Null where there is none of that name.
const PublicWeights* find_public_weights(std::string_view name);
// Where it is fetched to: FOLDER/weights/FILE of cache_folder(). Need not be there.
std::filesystem::path place_of(const PublicWeights& weights);

// A name of the list -> its place; throws UserError that names `resflow pull` where it is not there. Anything else is a path and stays as it is.
std::string pulled_or_path(const std::string& name);

}  // namespace resflow::weights
