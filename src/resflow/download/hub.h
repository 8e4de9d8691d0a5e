// Models of Hugging Face's hub, into the cache where its own tools keep them and weights::find_in_hub_cache() looks.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "resflow/core/progress.h"
#include "resflow/download/transfer.h"

namespace resflow::download {

struct HubFile {
  std::string name;  // within the repository, "vae/config.json"
  int64_t size = 0;  // bytes
  std::string sha256, git_blob;
};

struct HubListing {
  std::string repository, revision, commit;
  std::vector<HubFile> files;
};

// What "ORG/NAME" or "ORG/NAME@REVISION" has, from $HF_ENDPOINT or huggingface.co, with $HF_TOKEN where it is set. Throws UserError: no such name, a
// repository that is gated (the page where its licence is accepted is named), and as fetch() does.
HubListing list_hub(const std::string& name, const TransferOptions& options);

// Those that are wanted: that one of `include` fits (all where it is empty) and none of `exclude`; patterns are the shell's, * passes slashes.
// Without patterns, weights at the top of a repository in diffusers' layout (model_index.json) are left out: they are the folders' again, in one
// file.
std::vector<HubFile> wanted_files(const HubListing& listing, const std::vector<std::string>& include, const std::vector<std::string>& exclude);

// Fetches them into hub_cache(): blobs/CHECKSUM, snapshots/COMMIT/NAME linked to them, and refs/REVISION, written last. -> the snapshot's folder.
std::filesystem::path pull_hub(const HubListing& listing, const std::vector<HubFile>& files, const TransferOptions& options, const Job& job);

}  // namespace resflow::download
