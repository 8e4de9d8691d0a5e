// FLUX.1 behind a restoration, shown the poor picture by unified multi-modal fusion or a ControlNet (docs/flux.md, models/fusion).
#pragma once

#include <list>
#include <memory>
#include <string>
#include <utility>

#include "resflow/generate/flux_parts.h"
#include "resflow/models/fusion/flux_fusion.h"
#include "resflow/restore/backbone.h"
#include "resflow/restore/condition_files.h"

namespace resflow::restore {

// A part of a picture's latent, in its cells.
struct Cells {
  int64_t y = 0, x = 0, height = 0, width = 0;
};
// A window of one endless field of standard normals, whatever the number of channels: the same cell is the same number in whatever window it is
// drawn. -> float [1, channels, height, width], CPU
Tensor latent_noise(const Stream& field, int64_t channels, const Cells& window);

class FluxBackbone final : public Backbone {
 public:
  // Reads configurations and headers; weights come with the first picture that is not left to the remover alone. Throws UserError.
  explicit FluxBackbone(const ModelOptions& options);
  ~FluxBackbone() override;

  int64_t multiple() const override { return parts_.facts().multiple; }
  Defaults defaults() const override;
  bool reads_features() const override { return false; }
  std::string name() const override { return parts_.folder().name; }
  const std::string& fingerprint() const override { return fingerprint_; }
  void check(const RestoreOptions& options) const override;
  Json told() const override;

  // FLUX's own for so many tokens. Strength below 1 leaves out the first ones, as diffusers does (FluxImg2ImgPipeline), but never the last.
  std::vector<double> sigmas(const PictureSettings& settings, int64_t height, int64_t width) const override;
  std::vector<std::string> begin(const PictureSettings& settings, const Job& job) override;
  TileFlow tile(const TileInput& input, const PictureSettings& settings) override;

 private:
  Cells cells_of(const image::Tile& tile) const;
  generate::Work work_of(const PictureSettings& settings) const;
  const generate::TextFeatures& text_of(const std::string& caption, int64_t length, const Job& job);
  void load();
  std::string shown(const RestoreOptions& options) const;  // lq, reference, both
  models::FluxCondition condition_of(const Tensor& picture, const std::vector<Tensor>& latents, const generate::TextFeatures& text) const;
  flow::VelocityFn velocity_of(models::FluxCondition condition, const Cells& cells, const PictureSettings& settings) const;
  static Tensor each(const autoencoders::Autoencoder& autoencoder, const Tensor& latents);

  FluxOptions options_;
  generate::FluxParts parts_;
  ConditionFiles files_;
  std::string fingerprint_;
  std::unique_ptr<autoencoders::Autoencoder> preview_;
  std::unique_ptr<models::FluxFusion> fusion_;
  // Texts that were read, the last one first: a batch of one caption reads it once.
  std::list<std::pair<std::string, generate::TextFeatures>> texts_;
};

}  // namespace resflow::restore
