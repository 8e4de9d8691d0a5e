// Adapters as diffusers saves them: PEFT's names after "transformer.", ranks and alphas in the metadata, so that load_lora_weights() takes them.
#pragma once

#include "resflow/weights/lora.h"

namespace resflow::weights {

// Metadata besides diffusers' own: "resflow.version", "resflow.tokens" ("all", "condition"), "resflow.rank" (the most common) and, where it is
// told, "resflow.base" (the model it was made for); and `more`. Written whole or not at all. Throws UserError where the file cannot be written.
void write_lora(const std::filesystem::path& path, const Lora& lora, const std::string& base = "",
                const std::map<std::string, std::string>& more = {});

}  // namespace resflow::weights
