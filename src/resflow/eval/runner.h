// Scores a folder of pictures, against a folder of references where the metric needs one: each picture by itself, or both folders as
// wholes.
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

// Of pictures and of sets, in the order of --help.
std::vector<std::string> metric_names();

struct EvalOptions {
  std::string pred, ref;
  std::vector<std::string> metrics;
  bool luma = rewards::MetricOptions{}.luma;
  int crop_border = rewards::MetricOptions{}.crop_border;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("pred", o.pred, "Folder of the pictures to score, or one picture");
    visit("ref", o.ref, "Folder of the references, matched by file name without extension, or one picture; empty = none");
    visit("metrics", o.metrics, "What to measure; empty = all that needs no downloaded files", OneOf{metric_names()});
    visit("luma", o.luma, "psnr and ssim: compare BT.601 luma (16..235) only, not R, G and B");
    visit("crop_border", o.crop_border, "psnr and ssim: pixels at each side that do not count", Range{0, 4096});
  }
};

struct EvalRow {
  std::string name;                      // the file's, without extension
  std::map<std::string, double> scores;  // metric -> value; one that the picture is too small or too flat for is absent
};

struct EvalReport {
  EvalOptions options;                           // metrics: the ones measured, of pictures and of sets
  std::vector<EvalRow> rows;                     // by name
  std::map<std::string, double> sets;            // metric of sets -> its value for the two folders
  std::map<std::string, bool> higher_is_better;  // of all that was measured
  std::vector<std::string> notes;                // scores left out, and why

  // options.metrics less those of sets.
  std::vector<std::string> picture_metrics() const;

  // Over the rows that have the score; nullopt where none has.
  std::optional<double> mean(const std::string& metric) const;
  // {"options", "count", "mean": {metric: number | null}, "scored": {metric: rows}, "sets": {metric: number},
  //  "higher_is_better": {metric: bool}, "files": [{"name", metric: number | null ...}], "notes"}
  Json to_json() const;
};

// Reports progress as stage "eval", one unit a picture. Pictures need partners of their size on the other side unless all that is
// measured compares sets. Throws UserError: a folder that is missing or has no pictures, a picture without a partner, two with one name, an
// unreadable one, sizes that differ, a metric that needs a reference where there is none, missing weight files; Cancelled.
EvalReport evaluate(const EvalOptions& options, const Job& job = {});

}  // namespace resflow::eval
