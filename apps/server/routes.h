// The routes, by API. What is refused throws.
#pragma once

#include <vector>

#include "server/router.h"

namespace resflow::server {

std::vector<Route> service_routes(JobService& jobs);  // health, metrics, models, schema
std::vector<Route> job_routes(JobService& jobs);      // native jobs and their files
std::vector<Route> event_routes(JobService& jobs);    // server-sent events
std::vector<Route> openai_routes(JobService& jobs);   // OpenAI's /v1/images/edits
std::vector<Route> sdapi_routes(JobService& jobs);    // Automatic1111's /sdapi/v1

// The web page's files, below web/ of the program's data; nothing outside it, whatever the path says.
std::function<void(const Exchange&)> page_files();

}  // namespace resflow::server
