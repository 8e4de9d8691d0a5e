// What `resflow serve` is told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "resflow/captioning/options.h"
#include "resflow/core/fields.h"

namespace resflow::server {

struct ServeOptions {
  std::string host = "127.0.0.1";
  int64_t port = 8188;
  std::string api_key, data;
  int64_t max_body = 64 << 20;
  int64_t max_pixels = 100'000'000;
  int64_t max_queue = 100;
  int64_t max_tile = 1024, max_batch = 8;
  int64_t max_connections = 256;
  double job_timeout = 3600;
  double keep_hours = 168;
  int64_t keep_jobs = 500;
  double grace = 10;
  std::vector<std::string> allowed_host, cors_origin;
  captioning::CaptionOptions captions;  // of jobs that bring none; fields of their own

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("host", o.host, "Address to listen on; one that others can reach needs an API key");
    visit("port", o.port, "Port; 0 = any that is free, told on standard output", Range{0, 65535});
    visit("api_key", o.api_key,
          "Secret that requests must show (Authorization: Bearer ...); better given as RESFLOW_API_KEY, which ps does not show");
    visit("data", o.data, "Folder of the queue and its pictures; empty = $XDG_STATE_HOME/resflow or ~/.local/state/resflow");
    visit("max_body", o.max_body, "Largest request, in bytes", Range{1024, 1e12});
    visit("max_pixels", o.max_pixels, "Largest picture, source or result, in pixels", Range{1, 1e9});
    visit("max_queue", o.max_queue, "Most jobs that wait", Range{1, 1e6});
    visit("max_tile", o.max_tile, "Largest tile that a job may ask for (memory grows with it)", Range{128, 8192});
    visit("max_batch", o.max_batch, "Most candidates in one model call (memory grows with it)", Range{1, 4096});
    visit("max_connections", o.max_connections, "Most connections at once", Range{4, 10000});
    visit("job_timeout", o.job_timeout, "Most seconds that a job may work", Range{1, 1e9});
    visit("keep_hours", o.keep_hours, "Finished jobs and their pictures are removed after so many hours", Range{0, 1e6});
    visit("keep_jobs", o.keep_jobs, "Finished jobs kept at most", Range{0, 1e6});
    visit("grace", o.grace, "Seconds that the running job has to finish at shutdown before it is put back into the queue", Range{0, 1e6});
    visit("allowed_host", o.allowed_host, "More names that requests on loopback may address, as behind a reverse proxy");
    visit("cors_origin", o.cors_origin, "Origins of other web pages that may use the API: https://example.org");
  }
};

}  // namespace resflow::server
