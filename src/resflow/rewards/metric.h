// Numbers that say how good a picture is, with the conventions of the field's papers. One file and one line of list.inc each.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/registry.h"
#include "resflow/core/tensor.h"

namespace resflow::rewards {

// Of the metrics that compare with a reference. The defaults are those of NTIRE and of BasicSR's test_y_channel with crop_border 4;
// many papers on real photographs use crop_border 0.
struct MetricOptions {
  bool luma = true;     // compare BT.601 luma (16..235) only; false: the mean over R, G and B
  int crop_border = 4;  // pixels at each side that do not count
};

class Metric {
 public:
  virtual ~Metric() = default;

  // prediction, reference: float [1, 3, H, W], 0..1, of one size; a metric that needs no reference ignores it and the options, and one
  // of a network (lpips, dists) the options.
  // Throws UserError where a picture is too small for the metric.
  virtual double score(const Tensor& prediction, const Tensor& reference, const MetricOptions& options = {}) const = 0;
  virtual bool needs_reference() const = 0;
  virtual bool higher_is_better() const = 0;
};

const Registry<Metric>& metrics();
// Names of those that need no downloaded file. The others read theirs when they are made; a missing one is a UserError.
const std::vector<std::string>& shipped_metrics();

}  // namespace resflow::rewards
