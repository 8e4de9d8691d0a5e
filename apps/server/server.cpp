#include "server/server.h"

#include <fmt/format.h>

#include <thread>

#include "resflow/captioning/captioner.h"
#include "resflow/core/error.h"
#include "resflow/restore/model_name.h"
#include "server/openapi.h"
#include "server/routes.h"

namespace resflow::server {

void serve(const ServeOptions& options, const restore::ModelOptions& model, const std::stop_token& stop,
           const std::function<void(const std::string& url)>& on_ready) {
  check_fields(options);
  if (options.captions.captioner == "sidecar")
    throw_user_error(
        {.where = "--captioner", .problem = "pictures that are sent bring no files along", .wanted = "none or openai", .got = "sidecar"});
  auto captioner = captioning::make_captioner(options.captions);
  const Access access(options);
  Listener listener(options.max_connections);
  const int port = listener.bind(options.host, static_cast<int>(options.port));  // before the model: it takes longer to load
  const std::filesystem::path data = options.data.empty() ? default_data_folder() : std::filesystem::path(options.data);
  restore::prepare_memory(model);
  JobService jobs(options, data, std::make_unique<restore::Restorer>(model), std::move(captioner));

  std::vector<Route> routes;
  for (auto& some : {service_routes(jobs), job_routes(jobs), event_routes(jobs), openai_routes(jobs), sdapi_routes(jobs)})
    routes.insert(routes.end(), some.begin(), some.end());
  Json document;
  routes.push_back(
      {.method = "GET",
       .path = "/openapi.json",
       .operation = openapi::operation(
           {.tag = "service", .summary = "This document", .responses = {{"200", openapi::json_response("OpenAPI 3.1", {{"type", "object"}})}}}),
       .handle = [&document](const Exchange& exchange) { exchange.reply(document); }});
  document = openapi_document(routes, options);
  Router router(jobs, access, std::move(routes), page_files());
  router.attach(listener);

  std::thread serving([&] { listener.serve(); });
  on_ready(fmt::format("http://{}:{}/", options.host.find(':') == std::string::npos ? options.host : "[" + options.host + "]", port));
  while (!stop.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  jobs.shut_down();  // with requests still answered: /health tells that it ends
  listener.stop_serving();
  serving.join();
}

}  // namespace resflow::server
