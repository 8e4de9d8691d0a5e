// Models that Hugging Face's tools have downloaded: $HF_HUB_CACHE/models--ORG--NAME/{refs,snapshots}. Read only: `resflow pull` (download/hub.h)
// fills it.
#pragma once

#include <filesystem>
#include <string>

namespace resflow::weights {

struct HubModel {
  std::string repository, revision, commit;  // "black-forest-labs/FLUX.1-dev", "main", 40 digits
  std::filesystem::path folder;              // the snapshot
};

// Where the cache is: $HF_HUB_CACHE, else $HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub; as huggingface_hub looks for it.
std::filesystem::path hub_cache();

// "ORG/NAME" or "ORG/NAME@REVISION", a branch, tag or commit; "main" where none is named.
bool is_hub_name(const std::string& name);

// Throws UserError, which names every place that was looked at, where the repository, the revision or its snapshot is not there.
HubModel find_in_hub_cache(const std::string& name);

}  // namespace resflow::weights
