// What Prometheus reads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/job.h"

namespace resflow::server {

// May be used from several threads.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // A job came to its end. waited, worked: seconds; pixels: of the result, 0 without one.
  void job_ended(State state, double waited, double worked, double pixels);
  void request(const std::string& route, int code);
  // The text format, with what waits and runs now.
  std::string text(int64_t waiting, int64_t running) const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace resflow::server
