// What a result goes through before anyone sees it: checks, one retry in a safer mode, and the limit of change.
#pragma once

#include <functional>

#include "resflow/restore/restorer.h"

namespace resflow::restore {

// Checks `made` (output_checks.h) where options.checks; where it complains, `again` is called once with safer options (the degradation remover alone)
// and its result taken. Then holds it to options.max_change (faithfulness.h) and notes all in the manifest: "faithfulness", and "checks" with what
// was found, what was done and whether it is sound now. Throws UserError: no sound numbers even so; a change above the limit with on_change = refuse.
void assure(const image::Picture& source, const RestoreOptions& options, Restored& made, const std::function<Restored(const RestoreOptions&)>& again);

// How strongly each place is restored: mask [3, h, w] as a picture gives it, white = as restored, black = the source enlarged. Throws UserError
// where its shape is another than the picture's.
void apply_mask(const image::Picture& source, const Tensor& mask, Restored& made);

}  // namespace resflow::restore
