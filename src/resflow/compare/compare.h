// What each way of restoring makes of the same pictures: results, measures, a contact sheet and a page to look at.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "resflow/core/fields.h"
#include "resflow/core/json.h"
#include "resflow/core/progress.h"
#include "resflow/restore/restorer.h"
#include "resflow/search/options.h"

namespace resflow::compare {

struct CompareOptions {
  std::string poor, references, output;
  std::vector<std::string> metrics;
  std::string feature_network;
  int64_t pictures = 0, shown = 30, window = 768, cell = 256;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("lq", o.poor, "Folder of the poor pictures; empty = lq/ of the data folder");
    visit("hq", o.references, "Folder of the true ones, by name without extension; empty = hq/ of the data folder, where there is one");
    visit("metrics", o.metrics, "What `resflow eval` measures; empty = all that needs no downloaded files");
    visit("feature_network", o.feature_network, "Also measure the feature distance to the true picture (a perceptual distance), by this network");
    visit("pictures", o.pictures, "Compare so many pictures, the first by name; 0 = all", Range{0, 1e6});
    visit("shown", o.shown, "Most pictures on the page and the sheet", Range{1, 1000});
    visit("window", o.window, "Side of what the page shows of each, in its middle, in pixels", Range{64, 4096});
    visit("cell", o.cell, "Side of a cell of the sheet, in pixels", Range{32, 2048});
  }
};

// data: a folder with lq/ and, where there are true pictures, hq/. Ways, in this order: bicubic; real-esrgan (model.dr_file alone) where one is
// named; remover (the model's own, alone); plain; search. With `through`, also mixed (restore.reference_mix of it, the rest the remover's) and
// flow-from-mixed. restore.scale 0: what makes the first true picture of its poor one. Writes into options.output: WAY/NAME.png, compare.json,
// sheet.png (a row a picture, the ways in order, the true picture last) and index.html, which loads nothing from anywhere. Results that a run before
// made with the same settings are kept. -> the JSON "resflow-compare-1":
//   ways: [{"name", "what", "seconds" (mean of a picture), "mean": {metric: number}, "files": [{"name", metric: number}]}], "higher_is_better".
// Throws UserError: folders that are missing or empty, a picture that fails, sizes that do not fit; Cancelled.
Json compare(const std::filesystem::path& data, const CompareOptions& options, const restore::ModelOptions& model,
             const restore::RestoreOptions& restore, const search::SearchOptions& search, bool through, const Job& job = {});

}  // namespace resflow::compare
