// All that the routes may do with jobs.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/feed.h"
#include "server/job_files.h"
#include "server/job_options.h"
#include "server/job_store.h"
#include "server/metrics.h"
#include "server/options.h"
#include "server/worker.h"

namespace resflow::server {

// A picture that was received, as a file of ours; removed with this unless a job took it.
class ReceivedFile {
 public:
  explicit ReceivedFile(std::filesystem::path path) : path(std::move(path)) {}
  ~ReceivedFile();
  ReceivedFile(const ReceivedFile&) = delete;
  ReceivedFile& operator=(const ReceivedFile&) = delete;

  const std::filesystem::path path;
  std::string name;   // the client's
  std::string field;  // of the form
};

// How strongly each place is to be restored, as a picture of the source's shape.
struct ReceivedMask {
  const ReceivedFile& file;
  MaskKind kind;
};

// A file to send.
struct SentFile {
  std::filesystem::path path;
  std::string type, name;  // MIME; for the client to save it as
};

// May be used from several threads. What goes wrong with a request is thrown as HttpError or UserError.
class JobService {
 public:
  // captioner: says what a picture shows where its job does not; may be null.
  JobService(const ServeOptions& options, const std::filesystem::path& data, std::unique_ptr<restore::Restorer> restorer,
             std::unique_ptr<captioning::Captioner> captioner);
  ~JobService();

  const ServeOptions& options() const { return options_; }
  const JobFiles& files() const { return files_; }
  Feed& feed() { return feed_; }
  Metrics& metrics() { return metrics_; }
  const std::string& fingerprint() const { return fingerprint_; }
  const std::string& model_name() const { return model_name_; }
  int64_t waiting() const { return store_.waiting(); }
  int64_t running() const { return store_.running(); }

  // Checks the picture, and the mask where there is one, by their headers alone, queues a job for each of the options (all or none), and takes the
  // files.
  std::vector<JobRecord> submit(const ReceivedFile& picture, std::vector<JobOptions> options, const std::optional<ReceivedMask>& mask = {});
  // 404 where there is none.
  JobRecord find(const std::string& id);
  std::vector<JobRecord> list(const std::string& state, int64_t most) { return store_.list(state, most); }
  std::optional<JobRecord> running_job();
  Json json(const JobRecord& job);
  // Waits for the end of a job; while it waits, goes_on() is asked now and then whether somebody still wants it.
  JobRecord wait(const std::string& id, const std::function<bool()>& goes_on);
  // Cancels what is not finished; removes what is. -> the job as it is now; nothing where it was removed.
  std::optional<JobRecord> cancel_or_remove(const std::string& id);
  void cancel(const std::string& id);

  // Files of a job, made fit for browsers where asked. 404, 409 where they are not there.
  SentFile source(const JobRecord& job);
  SentFile result(const JobRecord& job, bool for_browser);
  Json candidates(const JobRecord& job);
  SentFile candidate(const JobRecord& job, const std::string& tile_and_id, bool whole);
  JobRecord pick(const JobRecord& job, const std::string& picks);

  // Runs work on pictures, one at a time: not for the model's thread, and not for as many threads as there are clients.
  template <class Work>
  auto with_pictures(Work&& work) {
    const std::lock_guard lock(pictures_);
    return work();
  }

  // Tells all watchers and waiters, ends the worker; new jobs are refused from now on.
  void shut_down();
  bool ending() const { return ending_; }

 private:
  void keep_house();
  void remove(const std::string& id);
  std::filesystem::path shown_copy(const JobRecord& job, const std::filesystem::path& file, const std::string& what);

  const ServeOptions options_;
  JobFiles files_;
  JobStore store_;
  Feed feed_;
  Metrics metrics_;
  std::string fingerprint_, model_name_;
  int64_t usual_tile_ = 0;
  Worker worker_;
  std::mutex pictures_;
  std::atomic<bool> ending_{false};
  std::mutex house_mutex_;
  std::condition_variable house_changed_;
  std::thread house_;
};

// Where the job came with a mask: draws what it leaves out back to the source. Reads both; throws UserError where the mask is damaged.
void mask_restored(const JobFiles& files, const JobRecord& job, const ServeOptions& limits, restore::Restored& made);

// Throws what became of a job that is not done, as an HttpError.
[[noreturn]] void throw_unfinished(const JobRecord& job);

// image/png of "png" or ".png"; application/octet-stream of what is not known.
std::string mime_type(std::string extension);

}  // namespace resflow::server
