#include "server/feed.h"

namespace resflow::server {
namespace {

constexpr auto kAskedFor = std::chrono::seconds(10);

}  // namespace

void Feed::state_changed(const std::string& id) {
  const std::lock_guard lock(mutex_);
  ++entries_[id].sight.state;
  changed_.notify_all();
}

void Feed::queue_changed() {
  const std::lock_guard lock(mutex_);
  ++queue_;
  changed_.notify_all();
}

void Feed::set_progress(const std::string& id, const Json& progress) {
  const std::lock_guard lock(mutex_);
  auto& sight = entries_[id].sight;
  ++sight.progress;
  sight.progress_json = progress;
  changed_.notify_all();
}

void Feed::add_preview(const std::string& id) {
  const std::lock_guard lock(mutex_);
  ++entries_[id].sight.preview;
  changed_.notify_all();
}

void Feed::ask_for_preview(const std::string& id) {
  const std::lock_guard lock(mutex_);
  entries_[id].asked = Clock::now();
}

bool Feed::wants_preview(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  return found != entries_.end() && (found->second.watchers > 0 || Clock::now() - found->second.asked < kAskedFor);
}

void Feed::forget(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found != entries_.end() && found->second.watchers == 0) entries_.erase(found);
}

void Feed::wake_all() {
  const std::lock_guard lock(mutex_);
  ++woken_;
  changed_.notify_all();
}

Sight Feed::sight_locked(const std::string& id) const {
  const auto found = entries_.find(id);
  Sight sight = found == entries_.end() ? Sight{} : found->second.sight;
  sight.state += queue_;
  return sight;
}

Sight Feed::sight(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  return sight_locked(id);
}

Sight Feed::wait(const std::string& id, const Sight& seen, std::chrono::milliseconds most) const {
  std::unique_lock lock(mutex_);
  const auto woken = woken_;
  changed_.wait_for(lock, most, [&] { return woken_ != woken || !(sight_locked(id) == seen); });
  return sight_locked(id);
}

Feed::Watcher::Watcher(Feed& feed, std::string id) : feed_(feed), id_(std::move(id)) {
  const std::lock_guard lock(feed_.mutex_);
  ++feed_.entries_[id_].watchers;
}

Feed::Watcher::~Watcher() {
  const std::lock_guard lock(feed_.mutex_);
  --feed_.entries_[id_].watchers;
}

}  // namespace resflow::server
