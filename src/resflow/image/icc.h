// The few facts about an ICC profile that decide how it is used. Internal to image/.
#pragma once

#include <string>
#include <string_view>

namespace resflow::image {

struct ProfileFacts {
  std::string name;         // the description, "" where there is none
  std::string color_space;  // "RGB ", "GRAY", "CMYK", "Lab ", ...; "" where the bytes are no profile
  bool is_srgb = false;     // sRGB by name: pixels need no conversion
};

// Reads the header and the 'desc' tag (version 2 text, version 4 mluc). Never throws: bytes of any kind are accepted.
ProfileFacts profile_facts(std::string_view icc);

}  // namespace resflow::image
