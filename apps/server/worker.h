// The one thread that touches the model: it takes the next job, restores, writes, and takes the next.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "resflow/restore/caption.h"
#include "resflow/restore/restorer.h"
#include "server/feed.h"
#include "server/job_files.h"
#include "server/job_store.h"
#include "server/metrics.h"
#include "server/options.h"

namespace resflow::server {

// What works on the pictures: used by the worker's thread only, from start() on, but for check().
struct Workers {
  std::unique_ptr<restore::Restorer> restorer;
  std::unique_ptr<captioning::Captioner> captioner;  // null: jobs have the captions that they bring
};

class Worker {
 public:
  Worker(Workers workers, const ServeOptions& options, JobStore& store, const JobFiles& files, Feed& feed, Metrics& metrics);
  ~Worker();

  // Throws UserError where an option is not the model's. From any thread.
  void check(const restore::RestoreOptions& options) const { workers_.restorer->check(options); }

  void start();
  void wake();  // there is a new job
  // Stops work on a job that was cancelled in the store.
  void cancel(const std::string& id);
  // Ends a job that has worked too long. To be called now and then.
  void check_time();
  // Waits for the running job, at most so long; then it is put back. No other job is begun.
  void stop(double grace);

 private:
  enum class Why { none, cancelled, time, shutdown };
  void loop();
  void work(JobRecord& job);
  void restore(JobRecord& job);
  // Has the picture captioned, as `resflow restore --captioner` does. -> why that failed, or nothing.
  std::vector<std::string> add_caption(const restore::CaptionedPicture& of, const Job& task, std::string& caption) const;
  void report(const JobRecord& job, const Progress& progress);
  void end(JobRecord& job);
  void interrupt(Why why);

  const Workers workers_;
  const ServeOptions& options_;
  JobStore& store_;
  const JobFiles& files_;
  Feed& feed_;
  Metrics& metrics_;
  const int threads_;  // for the model, as chosen when the program began

  std::mutex mutex_;
  std::condition_variable changed_;
  bool news_ = true, ending_ = false, ended_ = false;
  std::string current_;  // the job at work
  std::chrono::steady_clock::time_point begun_{};
  std::chrono::steady_clock::time_point reported_{};  // the worker's thread only
  std::stop_source stop_;
  Why why_ = Why::none;
  std::thread thread_;
};

}  // namespace resflow::server
