// What --model names.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "resflow/restore/options.h"

namespace resflow::restore {

enum class Family { compact, flux };

struct NamedModel {
  Family family;
  std::filesystem::path path;  // compact: the file of weights; flux: the diffusers folder
};

// "compact" = the shipped weights; another file is one of its kind; a folder, or ORG/NAME in Hugging Face's cache, is FLUX. Throws UserError: nothing
// there.
NamedModel find_model(const std::string& name);

// A program's, before its Restorer: on a CPU FLUX's freed tensors go back to the system, which its memory is planned by (core/memory_use.h). It acts
// on the whole process.
void prepare_memory(const ModelOptions& options);

// The files and folders that a Restorer of these options reads first: a newer one is another model. Throws UserError.
std::vector<std::filesystem::path> model_files(const ModelOptions& options);

}  // namespace resflow::restore
