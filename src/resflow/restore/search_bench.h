// What a search pays: the gain of each strategy against what it costs, over a set of pictures.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "resflow/restore/restorer.h"
#include "resflow/search/options.h"

namespace resflow::restore {

struct SearchBenchOptions {
  std::vector<std::string> strategies = {"best-of-n", "greedy", "zero-order", "resflow"};
  std::vector<double> sizes = {2, 4, 8};
  int64_t baseline = 8;
  std::string references, feature_network, pictures;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("strategies", o.strategies, "Strategies to compare; best-of-n is the control at equal cost", OneOf{search::strategy_names()});
    visit("sizes", o.sizes, "Numbers of candidates to run each strategy with");
    visit("baseline", o.baseline, "Plain samples of every picture, whose rewards' mean and spread are the scale of the gain", Range{2, 4096});
    visit("references", o.references, "Folder of the true pictures, by name without extension, for measures that no search saw; empty = none");
    visit("feature_network", o.feature_network, "Also measure the feature distance to the reference, by this network");
    visit("pictures", o.pictures, "Also write every result here, in a folder for each strategy and size");
  }
};

// sources: picture files. restore, search: as for a restoration; strategy and candidates are the bench's own. -> JSON "resflow-search-bench-1":
//   runs: one entry a strategy and size (and "none", plain sampling), means over the pictures:
//     gain       mean over the rewards that have a say of (winner's score - mean of plain samples) / their standard deviation, tile by tile
//     gains      the same by reward
//     times      NFE / plain sampling's NFE;  seconds  per picture, rewards and decoding included
//     measures   psnr, ssim, niqe, feature: of the whole result, not searched for unless they are a reward
//     best_of_n  what best-of-n gains at the same cost, between its own sizes
// A reward that does not vary over the plain samples of a tile is left out of that tile's mean. Throws UserError, Cancelled.
Json bench_search(const Restorer& restorer, const std::vector<std::filesystem::path>& sources, const SearchBenchOptions& bench,
                  const RestoreOptions& restore, const search::SearchOptions& search, const Job& job = {});

// Gain over cost, a line a strategy: an SVG picture.
std::string bench_plot(const Json& report);

}  // namespace resflow::restore
