// The compact model behind a restoration.
#pragma once

#include "resflow/models/compact/compact.h"
#include "resflow/restore/backbone.h"

namespace resflow::restore {

class CompactBackbone final : public Backbone {
 public:
  // The model must outlive it.
  CompactBackbone(const models::CompactModel& model, c10::Device device, c10::ScalarType dtype) : model_(model), device_(device), dtype_(dtype) {}

  int64_t multiple() const override { return models::CompactFlow::kMultiple; }
  Defaults defaults() const override;
  bool reads_features() const override { return true; }
  std::string name() const override { return "compact"; }
  const std::string& fingerprint() const override { return model_.fingerprint; }
  void check(const RestoreOptions& options) const override;
  Json told() const override { return Json::object(); }
  std::vector<double> sigmas(const PictureSettings& settings, int64_t height, int64_t width) const override;
  std::vector<std::string> begin(const PictureSettings& settings, const Job& job) override;  // what was heard in the caption
  TileFlow tile(const TileInput& input, const PictureSettings& settings) override;

 private:
  const models::CompactModel& model_;
  c10::Device device_;
  c10::ScalarType dtype_;
};

}  // namespace resflow::restore
