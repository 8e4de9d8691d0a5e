#include "resflow/image/icc.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <utility>

namespace resflow::image {
namespace {

// Big-endian; 0 beyond the end.
uint32_t number_at(std::string_view bytes, size_t at) {
  if (bytes.size() < 4 || at > bytes.size() - 4) return 0;
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

std::string_view part(std::string_view bytes, size_t at, size_t length) { return at > bytes.size() ? std::string_view{} : bytes.substr(at, length); }

std::string printable(std::string_view text, size_t step) {
  std::string out;
  for (size_t i = step - 1; i < text.size(); i += step) {  // UTF-16: the low byte; names beyond Latin-1 lose their letters, not their length
    if (text[i] == 0) break;
    out += std::isprint(static_cast<unsigned char>(text[i])) ? text[i] : '?';
  }
  return out;
}

std::string description(std::string_view icc) {
  const size_t count = std::min<size_t>(number_at(icc, 128), 200);
  for (size_t i = 0; i < count; ++i) {
    const size_t entry = 132 + 12 * i;
    if (part(icc, entry, 4) != "desc") continue;
    const auto tag = part(icc, number_at(icc, entry + 4), number_at(icc, entry + 8));
    if (part(tag, 0, 4) == "desc") return printable(part(tag, 12, number_at(tag, 8)), 1);
    if (part(tag, 0, 4) == "mluc" && number_at(tag, 8) > 0) return printable(part(tag, number_at(tag, 24), number_at(tag, 20)), 2);
  }
  return "";
}

}  // namespace

ProfileFacts profile_facts(std::string_view icc) {
  if (icc.size() < 132 || part(icc, 36, 4) != "acsp") return {};
  ProfileFacts facts{.name = description(icc), .color_space = std::string(part(icc, 16, 4))};
  std::string lower = facts.name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  // The "v4 ICC preference" profile renders perceptually: it is not plain sRGB.
  facts.is_srgb = facts.color_space == "RGB " && lower.starts_with("srgb") && lower.find("linear") == std::string::npos &&
                  lower.find("preference") == std::string::npos;
  return facts;
}

}  // namespace resflow::image
