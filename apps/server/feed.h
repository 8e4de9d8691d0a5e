// What goes on, for those who watch: progress, previews, changes of state. Nothing here is kept.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "resflow/core/json.h"

namespace resflow::server {

// What a watcher has seen of a job, or may see now: numbers that grow.
struct Sight {
  uint64_t state = 0, progress = 0, preview = 0;
  Json progress_json;  // null before the first
  bool operator==(const Sight& other) const { return state == other.state && progress == other.progress && preview == other.preview; }
};

// May be used from several threads.
class Feed {
 public:
  void state_changed(const std::string& id);
  void queue_changed();  // all positions
  void set_progress(const std::string& id, const Json& progress);
  void add_preview(const std::string& id);
  // Somebody asked for a preview without watching (a client that polls): for some seconds it counts as a watcher.
  void ask_for_preview(const std::string& id);
  bool wants_preview(const std::string& id) const;
  void forget(const std::string& id);
  void wake_all();

  Sight sight(const std::string& id) const;
  // Waits until there is something new, at most so long.
  Sight wait(const std::string& id, const Sight& seen, std::chrono::milliseconds most) const;

  // Counts as a watcher while it lives.
  class Watcher {
   public:
    Watcher(Feed& feed, std::string id);
    ~Watcher();
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;

   private:
    Feed& feed_;
    std::string id_;
  };

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    Sight sight;
    int64_t watchers = 0;
    Clock::time_point asked{};
  };
  Sight sight_locked(const std::string& id) const;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::string, Entry> entries_;
  uint64_t queue_ = 0, woken_ = 0;
};

}  // namespace resflow::server
