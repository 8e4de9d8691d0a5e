// Adapters as options name them: "FILE" or "FILE:SCALE", several of them.
#pragma once

#include <string>
#include <vector>

#include "resflow/weights/lora_attach.h"

namespace resflow::weights {

struct LoraChoice {
  Lora lora;
  LoraUse use;
};

// scope: "auto", as each file says; "all", on every token; "condition". Throws UserError as read_lora, and for a bad scale.
std::vector<LoraChoice> open_loras(const std::vector<std::string>& texts, bool merge, const std::string& scope);

// For a manifest: [{file, format, scale, tokens}].
Json loras_json(const std::vector<LoraChoice>& choices);

// What a person should know: parts of the files that are not used.
std::vector<std::string> lora_notes(const std::vector<LoraChoice>& choices);

}  // namespace resflow::weights
