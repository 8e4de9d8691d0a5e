// Scores a folder of pictures, against a folder of references where the metric needs one.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "resflow/core/fields.h"
#include "resflow/core/json.h"
#include "resflow/core/progress.h"
#include "resflow/rewards/metric.h"

namespace resflow::eval {

struct EvalOptions {
  std::string pred, ref;
  std::vector<std::string> metrics;
  bool luma = rewards::MetricOptions{}.luma;
  int crop_border = rewards::MetricOptions{}.crop_border;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("pred", o.pred, "Folder of the pictures to score, or one picture");
    visit("ref", o.ref, "Folder of the references, matched by file name without extension, or one picture; empty = none");
    visit("metrics", o.metrics, "What to measure; empty = all that can be measured", OneOf{rewards::metrics().names()});
    visit("luma", o.luma, "psnr and ssim: compare BT.601 luma (16..235) only, not R, G and B");
    visit("crop_border", o.crop_border, "psnr and ssim: pixels at each side that do not count", Range{0, 4096});
  }
};

struct EvalRow {
  std::string name;                      // the file's, without extension
  std::map<std::string, double> scores;  // metric -> value; one that the picture is too small or too flat for is absent
};

struct EvalReport {
  EvalOptions options;             // metrics: the ones measured
  std::vector<EvalRow> rows;       // by name
  std::vector<std::string> notes;  // scores left out, and why

  // Over the rows that have the score; nullopt where none has.
  std::optional<double> mean(const std::string& metric) const;
  // {"options", "count", "mean": {metric: number | null}, "scored": {metric: rows}, "higher_is_better": {metric: bool},
  //  "files": [{"name", metric: number | null ...}], "notes"}
  Json to_json() const;
};

// Reports progress as stage "eval", one unit a picture. Throws UserError: a folder that is missing or has no pictures, a picture
// without a partner on the other side, two with one name, an unreadable one, sizes that differ, a metric that needs a reference
// where there is none; Cancelled.
EvalReport evaluate(const EvalOptions& options, const Job& job = {});

}  // namespace resflow::eval
