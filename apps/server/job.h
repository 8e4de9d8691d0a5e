// One picture's restoration as the queue knows it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "resflow/core/json.h"

namespace resflow::server {

enum class State { queued, running, done, failed, cancelled };
std::vector<std::string> state_names();  // in the order of State
std::string name_of(State state);
State state_named(const std::string& name);  // Throws UserError.
inline bool is_final(State state) { return state != State::queued && state != State::running; }

// Milliseconds since 1970, UTC; 0 = not yet.
using Time = int64_t;
Time time_now();
std::string iso_time(Time time);  // 2026-01-31T12:00:00.000Z

struct JobRecord {
  std::string id;  // 32 hexadecimal digits, not to be guessed
  State state = State::queued;
  int64_t priority = 0, sequence = 0;  // larger is earlier; order of coming within a priority
  std::string name;                    // of the uploaded file
  Time created = 0, started = 0, finished = 0;
  int64_t attempts = 0;
  Json options = Json::object();  // {"restore", "search", "files"}, all values as used
  Json source;                    // {"width", "height", "format"}
  Json result, error, manifest;   // null where there is none
  bool searched = false;
};

std::string new_job_id();
// Whether a text has the form of one; what has not must never become a part of a path.
bool is_job_id(const std::string& text);

// As clients see it. position: 1 = the next one, of a queued job; progress: of a running one, or null.
Json job_json(const JobRecord& job, int64_t position, const Json& progress);

}  // namespace resflow::server
