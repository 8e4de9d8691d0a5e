// Webdataset's shards: tar files in which the files of a sample stand beside each other. Internal to samples/.
#pragma once

#include <filesystem>

#include "resflow/samples/sample.h"

namespace resflow::samples {

void each_in_tar(const std::filesystem::path& shard, const Reading& reading, const std::function<void(const Sample&)>& take,
                 std::vector<Skipped>& skipped);

}  // namespace resflow::samples
