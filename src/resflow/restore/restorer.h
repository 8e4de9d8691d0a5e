// One picture, end to end: size, tiles, remover, flow, colour, blend.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "resflow/core/json.h"
#include "resflow/core/progress.h"
#include "resflow/core/rng.h"
#include "resflow/flow/sampler.h"
#include "resflow/image/codec.h"
#include "resflow/image/resize.h"
#include "resflow/image/tiles.h"
#include "resflow/models/compact/compact.h"
#include "resflow/restore/backbone.h"
#include "resflow/restore/model_name.h"
#include "resflow/restore/options.h"
#include "resflow/restore/reference.h"
#include "resflow/rewards/panel.h"
#include "resflow/search/options.h"
#include "resflow/search/trace.h"

namespace resflow::restore {

struct Size {
  int64_t width = 0, height = 0;
};
// What can be told before any picture is read: ranges, names, sizes that contradict each other, tiles. Throws UserError.
void check_options(const RestoreOptions& options);

// The result's size. Throws UserError where it is empty or above 1 Gpx.
Size target_size(const RestoreOptions& options, Size source);

// One tile's search.
struct SearchedTile {
  image::Region region;  // in the result
  search::Trace trace;
};

struct Restored {
  image::Picture picture;              // metadata, depth and grey flag of the source
  Json manifest;                       // program, model, options as used, sizes, seconds, model evaluations (NFE)
  std::vector<SearchedTile> searched;  // in the order of the tiles; empty without a search
  std::vector<image::Tile> tiles;      // as it was made
  std::vector<std::string> notes;      // what a person should know of the result
};

// What a caller may watch while a picture is made: searches, to keep pictures of them, and the estimates of all. Tiles are told one after
// another; called from the restoring thread.
struct SearchWatch {
  // A candidate was judged, by this estimate: [3, h, w] within the picture, 0..1. A candidate that is judged again is told again.
  std::function<void(size_t tile, const search::TraceCandidate&, const Tensor& image)> on_candidate;
  // A tile is done: its trace, and pixels(id) of each finished candidate and of the winner, as they would be blended: [3, tile, tile] with the
  // padding.
  std::function<void(size_t tile, const search::Trace& trace, const std::vector<std::pair<int64_t, Tensor>>& finished)> on_tile;
  // The running estimate x0_hat of a part of the result, [3, h, w], 0..1, on the CPU: after a model call, of a judged candidate, and of a tile
  // that is done. Told only where wants_estimate() says so, which is asked before each: copying it from the device has its price.
  std::function<bool()> wants_estimate;
  std::function<void(const image::Region& part, const Tensor& image)> on_estimate;
};

// Holds a loaded model. restore() may be called again and again; not from two threads at once.
class Restorer {
 public:
  // Throws UserError where the model is missing or damaged, an option is the other family's, or the device is not there.
  explicit Restorer(const ModelOptions& options);

  // Makes the rewards of a search, which reads their weight files, so that what is missing is told before any picture is touched. They are kept
  // for the pictures that follow with the same ones. Throws UserError.
  void prepare(const search::SearchOptions& search, const std::string& caption) const;

  // Throws UserError where an option is not the model's.
  void check(const RestoreOptions& options) const;
  // What the model asks for where the options leave it open.
  Defaults defaults() const { return backbone_->defaults(); }
  std::string name() const { return backbone_->name(); }
  // Of the weights' bytes.
  const std::string& fingerprint() const { return backbone_->fingerprint(); }
  // The degradation remover that takes the place of the model's own; null: none does.
  const ReferenceNetwork* remover() const { return remover_.get(); }
  // What else of the model changes its pictures, for a journal. Compact: nothing.
  Json told() const { return backbone_->told(); }

  // Memory: 12 bytes a pixel of the source and of the result (with a remover in place of the model's own, also of that remover's result), and what
  // one tile needs. Reports stage "restore", one unit a step of
  // a tile. Throws UserError (options), Cancelled.
  //
  // With a search each tile is searched by itself: smaller parts differ more, and the winners meet in the overlap. Budget and time are
  // the whole picture's: NFE count evaluations of a pixel, so each tile may spend all of the budget; of the time each has its share.
  // A stop, or the end of the time, ends the search with the best so far; tiles that were not yet searched are sampled plainly.
  // Reports stage "search".
  //
  // The result is checked, made again where it is broken, and held to options.max_change (assurance.h).
  Restored restore(const image::Picture& source, const RestoreOptions& options, const search::SearchOptions& search, const Job& job = {},
                   const SearchWatch& watch = {}) const;
  Restored restore(const image::Picture& source, const RestoreOptions& options, const Job& job = {}) const {
    return restore(source, options, {}, job);
  }

 private:
  struct Plan;
  Restored restore_once(const image::Picture& source, const RestoreOptions& options, const search::SearchOptions& search, const Job& job,
                        const SearchWatch& watch) const;
  // What a tile is sampled with.
  struct Sampling {
    const TileFlow& flow;
    const Tensor& reference;  // y*, [1, 3, h, w]
    const flow::Sampler& sampler;
  };
  Plan plan_of(const image::Picture& source, const RestoreOptions& options, const search::SearchOptions& search) const;
  Json model_json() const;
  Tensor restore_pixels(const Tensor& pixels, const Plan& plan, const Job& job) const;  // [3, h, w] -> [3, H, W]
  // enlarged: [1, 3, h, w]; reference: y* of another network for the tile, of the same shape, or undefined. -> [3, h, w]
  Tensor restore_tile(const Tensor& enlarged, const Tensor& reference, const image::Tile& tile, const Plan& plan, const Job& job) const;
  static Tensor color_fixed(const Tensor& restored, const Tensor& enlarged, const Plan& plan);  // where that is done by tile
  Tensor search_tile(const Tensor& enlarged, const Sampling& sampling, const image::Tile& tile, const Plan& plan, const Job& job) const;
  static void tell_estimate(const std::function<Tensor()>& x0, const image::Tile& tile, const Plan& plan);  // x0() -> [.., 3, h, w]

  ModelOptions options_;
  c10::Device device_;
  c10::ScalarType dtype_;
  NamedModel named_;
  std::unique_ptr<const models::CompactModel> compact_;  // the model, or for FLUX the shipped one, whose remover makes the reference
  std::unique_ptr<Backbone> backbone_;
  std::unique_ptr<const ReferenceNetwork> remover_;
  // The rewards that were made last, and for what.
  mutable std::unique_ptr<const rewards::Panel> panel_;
  mutable std::string panel_made_for_;
};

}  // namespace resflow::restore
