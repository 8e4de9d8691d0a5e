// A search as a page to look at.
#pragma once

#include <string>

#include "resflow/restore/trace_files.h"

namespace resflow::restore {

// One HTML file that needs nothing beside it: for each tile the tree of candidates with their pictures (column = round, best on top, the
// winner's ancestry marked), each reward against the evaluations spent, and a table of all scores. Small pictures that are
// missing are left out.
std::string search_report(const TraceFile& trace);

}  // namespace resflow::restore
