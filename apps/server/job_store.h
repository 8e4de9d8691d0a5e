// The queue, kept in an SQLite file: what was accepted is done, whatever happens to the process.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/job.h"

namespace resflow::server {

// May be used from several threads.
class JobStore {
 public:
  // Opens or creates it, and puts jobs back into the queue that were running when the last server ended: those that were so for the
  // `most_attempts`th time have failed. Throws UserError: another server has it, not a queue, of a newer program, unwritable.
  JobStore(const std::filesystem::path& file, int64_t most_attempts);
  ~JobStore();
  JobStore(const JobStore&) = delete;
  JobStore& operator=(const JobStore&) = delete;

  // Queues all or none; none where more than `most` would wait. Fills their `sequence`.
  bool add(std::vector<JobRecord>& jobs, int64_t most);
  std::optional<JobRecord> find(const std::string& id);
  // Newest first; state "" = all.
  std::vector<JobRecord> list(const std::string& state, int64_t most);
  // 1 = the next one.
  int64_t position(const JobRecord& job);

  // The next one, now running and tried once more.
  std::optional<JobRecord> take_next();
  // A running job's end: writes state, times, result, manifest, error. false: it was no longer running (cancelled meanwhile).
  bool finish(const JobRecord& job);
  // A running job goes back to its place; the attempt does not count.
  void put_back(const std::string& id);
  // queued or running -> cancelled. false: it was neither.
  bool cancel(const std::string& id);
  // A done job's result is another one. false: it is no longer there.
  bool replace_result(const std::string& id, const Json& result, const Json& manifest);
  // Removes a finished job. false: none such.
  bool remove(const std::string& id);
  // Finished jobs that ended before `before`, and all but the newest `most`.
  std::vector<std::string> expired(Time before, int64_t most);
  std::vector<std::string> ids();

  // Without touching the file.
  int64_t waiting() const { return waiting_; }
  int64_t running() const { return running_; }

 private:
  struct Database;
  void count();

  std::mutex mutex_;
  std::unique_ptr<Database> database_;
  std::atomic<int64_t> waiting_{0}, running_{0};
};

}  // namespace resflow::server
