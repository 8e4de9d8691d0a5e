// `resflow serve`: routes, queue and worker put together.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>

#include "resflow/restore/options.h"
#include "server/options.h"

namespace resflow::server {

// Serves until `stop` is asked for; then running requests are answered, the running job is finished or put back. on_ready gets the page's
// address once requests are taken. Throws UserError: options, address, data folder, model.
void serve(const ServeOptions& options, const restore::ModelOptions& model, const std::stop_token& stop,
           const std::function<void(const std::string& url)>& on_ready);

}  // namespace resflow::server
