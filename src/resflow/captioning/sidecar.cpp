// The text file beside a picture, as trainers keep captions: photo.jpg, photo.txt.
#include "resflow/captioning/captioner.h"
#include "resflow/core/error.h"
#include "resflow/core/files.h"

namespace resflow::captioning {
namespace {

class Sidecar final : public Captioner {
 public:
  std::string caption(const CaptionRequest& request) const override {
    const auto file = sidecar_of(request.file);
    std::error_code none;
    if (!std::filesystem::exists(file, none))
      throw_user_error({.where = request.file.string(),
                        .problem = "has no caption",
                        .wanted = file.string(),
                        .hint = "`resflow caption --sidecar` writes such files"});
    auto text = tidy_caption(read_text(file));
    if (text.empty()) throw_user_error({.where = file.string(), .problem = "the caption is empty"});
    return text;
  }
};

}  // namespace

std::unique_ptr<Captioner> make_captioner_sidecar(const CaptionOptions&) { return std::make_unique<Sidecar>(); }

}  // namespace resflow::captioning
