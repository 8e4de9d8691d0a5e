// What trains compact-iqa (rewards/iqa_network.h): results of the trained model, judged by a feature distance to the clean picture.
#pragma once

#include "resflow/models/compact/flow.h"
#include "resflow/rewards/feature_distance.h"
#include "resflow/rewards/iqa_network.h"
#include "resflow/train/objective.h"

namespace resflow::train {

// Of each degraded crop it makes, under no gradient, four pictures: two siblings of the flow (one start noise level, two seeds), the degradation
// remover's or the enlarged source, and a mixture of the first with the clean crop. The network learns
//   distance  the feature distance of each to the clean crop (absolute error), and
//   order     which of two siblings is nearer to it: what a search asks. A logistic loss on the difference, weighed by how far apart they are.
class IqaObjective final : public Objective {
 public:
  // Needs `remover`, `flow` and `feature_network`. Throws UserError.
  IqaObjective(const TrainOptions& options, c10::Device device);

  nn::Module& module() override { return network_; }
  std::string part() const override { return "iqa"; }
  Loss loss(const Batch& part, int64_t first_index) const override;
  std::vector<std::pair<std::string, Tensor>> restore(const Tensor& degraded, const Tensor& taught, const Tensor& words,
                                                      int64_t index) const override;
  std::optional<Judged> judge(const Tensor& degraded, int64_t index) const override;

 private:
  // The flow's results from sigma_s in `steps` steps, a noise stream each. removed, condition: of B pictures -> [B, 3, H, W], 0..1
  Tensor sample(const models::CompactRemover::Output& removed, const models::CompactCondition& condition, double sigma_s, int64_t steps,
                const std::vector<Stream>& streams) const;

  TrainOptions options_;
  models::CompactRemover remover_;
  models::CompactFlow flow_;
  rewards::IqaNetwork network_;
  rewards::FeatureDistance features_;
};

}  // namespace resflow::train
