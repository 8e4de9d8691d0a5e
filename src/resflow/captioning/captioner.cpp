#include "resflow/captioning/captioner.h"

#include "resflow/core/error.h"
#include "resflow/core/registry.h"

namespace resflow::captioning {

#define RESFLOW_CAPTIONER(name) std::unique_ptr<Captioner> make_captioner_##name(const CaptionOptions& options);
#include "resflow/captioning/list.inc"
#undef RESFLOW_CAPTIONER

std::vector<std::string> captioner_names() {
  return {
      "none",
#define RESFLOW_CAPTIONER(name) #name,
#include "resflow/captioning/list.inc"
#undef RESFLOW_CAPTIONER
  };
}

std::unique_ptr<Captioner> make_captioner(const CaptionOptions& options) {
  check_fields(options);
#define RESFLOW_CAPTIONER(name) \
  if (options.captioner == #name) return make_captioner_##name(options);
#include "resflow/captioning/list.inc"
#undef RESFLOW_CAPTIONER
  return nullptr;
}

std::filesystem::path sidecar_of(const std::filesystem::path& picture) {
  auto path = picture;
  return path.replace_extension(".txt");
}

std::string tidy_caption(const std::string& text) {
  constexpr size_t most = 2000;
  size_t begin = 0;
  if (const size_t thought = text.rfind("</think>"); thought != std::string::npos) begin = thought + 8;
  std::string out;
  for (const char c : text.substr(begin)) {
    const bool blank = static_cast<unsigned char>(c) <= 0x20 || c == 0x7f;
    if (!blank)
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  if (out.size() > 1 && out.front() == '"' && out.back() == '"') out = out.substr(1, out.size() - 2);
  if (out.size() > most) {
    size_t cut = most;
    while (cut > 0 && (static_cast<unsigned char>(out[cut]) & 0xc0) == 0x80) --cut;  // not within a character
    out.resize(cut);
  }
  return out;
}

}  // namespace resflow::captioning
