// The caption of a picture that is to be restored.
#pragma once

#include <filesystem>
#include <string>

#include "resflow/captioning/captioner.h"
#include "resflow/restore/restorer.h"

namespace resflow::restore {

struct CaptionedPicture {
  const std::filesystem::path& file;
  const image::Picture& picture;
};

// What the captioner says of the degradation remover's version of it, at most 512 px a side: of a poor picture a vision model tells that it is
// poor. Throws as Captioner::caption, Cancelled.
std::string caption_of(const captioning::Captioner& captioner, const Restorer& restorer, const CaptionedPicture& of, const Job& job = {});

}  // namespace resflow::restore
