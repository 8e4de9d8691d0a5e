#include "server/worker.h"

#include <ATen/Parallel.h>

#include <optional>

#include "resflow/core/error.h"
#include "resflow/core/log.h"
#include "resflow/restore/batch.h"
#include "resflow/restore/trace_files.h"
#include "server/job_options.h"
#include "server/job_service.h"
#include "server/preview.h"

namespace resflow::server {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPreviewEvery = std::chrono::milliseconds(500), kProgressEvery = std::chrono::milliseconds(100);

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

}  // namespace

Worker::Worker(Workers workers, const ServeOptions& options, JobStore& store, const JobFiles& files, Feed& feed, Metrics& metrics)
    : workers_(std::move(workers)),
      options_(options),
      store_(store),
      files_(files),
      feed_(feed),
      metrics_(metrics),
      threads_(at::get_num_threads()) {}

Worker::~Worker() {
  if (thread_.joinable()) stop(0);
}

void Worker::start() {
  thread_ = std::thread([this] { loop(); });
}

void Worker::wake() {
  const std::lock_guard lock(mutex_);
  news_ = true;
  changed_.notify_all();
}

void Worker::interrupt(Why why) {
  if (why_ == Why::none) why_ = why;
  stop_.request_stop();
}

void Worker::cancel(const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (current_ == id) interrupt(Why::cancelled);
}

void Worker::check_time() {
  const std::lock_guard lock(mutex_);
  if (!current_.empty() && seconds_since(begun_) > options_.job_timeout) interrupt(Why::time);
}

void Worker::stop(double grace) {
  std::unique_lock lock(mutex_);
  ending_ = true;
  changed_.notify_all();
  if (!changed_.wait_for(lock, std::chrono::duration<double>(grace), [&] { return ended_; })) interrupt(Why::shutdown);
  lock.unlock();
  if (thread_.joinable()) thread_.join();
}

void Worker::loop() {
  at::set_num_threads(threads_);
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return news_ || ending_; });
      if (ending_) break;
      news_ = false;
    }
    try {
      while (auto job = store_.take_next()) {
        bool interrupted = false;
        {
          const std::lock_guard lock(mutex_);
          current_ = job->id;
          begun_ = Clock::now();
          stop_ = std::stop_source();
          why_ = Why::none;
          interrupted = ending_;
        }
        if (interrupted) {
          store_.put_back(job->id);
        } else {
          feed_.queue_changed();
          work(*job);
        }
        const std::lock_guard lock(mutex_);
        current_.clear();
        if (ending_) break;
      }
    } catch (const std::exception& error) {  // the queue's file: a full disk, say
      log_warn("the queue: " + readable_message(error));
      std::this_thread::sleep_for(std::chrono::seconds(1));
      wake();
    }
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void Worker::work(JobRecord& job) {
  const auto fail = [&](const std::string& code, const std::string& message) {
    job.state = State::failed;
    std::string text = message;
    const std::string path = files_.source(job).string();  // a client knows the picture by its own name
    for (size_t at = 0; (at = text.find(path, at)) != std::string::npos; at += job.name.size()) text.replace(at, path.size(), job.name);
    job.error = {{"code", code}, {"message", text}, {"hint", ""}};
  };
  try {
    restore(job);
    job.state = State::done;
  } catch (const Cancelled&) {
    job.state = State::cancelled;
  } catch (const UserError& error) {
    fail("bad_picture", error.what());
  } catch (const std::exception& error) {
    const std::string message = readable_message(error);
    const bool memory = message.starts_with("out of memory");
    log_warn("job " + job.id + ": " + message);
    fail(memory ? "out_of_memory" : "bug", memory ? message : "something went wrong in the server");
  }
  Why why = Why::none;
  {
    const std::lock_guard lock(mutex_);
    why = why_;
  }
  if (job.state == State::cancelled && why == Why::shutdown) {
    store_.put_back(job.id);
    feed_.state_changed(job.id);
    return;
  }
  if (job.state == State::cancelled && why == Why::time) fail("timeout", "the job worked longer than this server allows");
  end(job);
}

void Worker::end(JobRecord& job) {
  job.finished = time_now();
  const bool counted = store_.finish(job);
  if (!counted) {  // cancelled while it worked; perhaps removed since
    job.state = State::cancelled;
    if (!store_.find(job.id)) files_.remove(job.id);
  }
  const double pixels = job.state == State::done ? job.result.value("width", 0.0) * job.result.value("height", 0.0) : 0;
  metrics_.job_ended(job.state, static_cast<double>(job.started - job.created) / 1000, static_cast<double>(job.finished - job.started) / 1000,
                     pixels);
  std::error_code ignored;
  std::filesystem::remove(files_.preview(job.id), ignored);
  feed_.state_changed(job.id);
}

void Worker::restore(JobRecord& job) {
  std::stop_token stop;
  {
    const std::lock_guard lock(mutex_);
    stop = stop_.get_token();
  }
  JobOptions options = JobOptions::from_json(job.options);
  const auto source_file = files_.source(job);
  const image::Picture source = image::read_picture(source_file, {.max_pixels = static_cast<double>(options_.max_pixels)});
  const Job task{.on_progress =
                     [&](const Progress& progress) {
                       if (stop.stop_requested()) throw Cancelled();  // a search would go on to its best so far, which nobody waits for
                       report(job, progress);
                     },
                 .stop = stop};
  auto notes = source.notes;
  if (workers_.captioner && options.restore.caption.empty()) {
    task.report({.stage = "caption"});
    for (auto& note : add_caption({.file = source_file, .picture = source}, task, options.restore.caption)) notes.push_back(std::move(note));
  }

  std::optional<restore::TraceWriter> writer;
  restore::SearchWatch watch;
  if (job.searched) watch = writer.emplace(files_.trace(job.id), "all").watch();
  std::optional<Preview> preview;
  Clock::time_point shown = Clock::now();  // what is done in a moment needs no preview
  watch.wants_estimate = [&] { return Clock::now() - shown >= kPreviewEvery && feed_.wants_preview(job.id); };
  watch.on_estimate = [&](const image::Region& part, const Tensor& image) {
    if (!preview)
      preview.emplace(source.pixels, restore::target_size(options.restore, {.width = source.pixels.size(2), .height = source.pixels.size(1)}));
    preview->show(part, image);
    preview->write(files_.preview(job.id));
    shown = Clock::now();
    feed_.add_preview(job.id);
  };
  auto restored = workers_.restorer->restore(source, options.restore, options.search, task, watch);
  task.throw_if_stopped();
  mask_restored(files_, job, options_, restored);

  const auto result = files_.result(job);
  notes.insert(notes.end(), restored.notes.begin(), restored.notes.end());
  for (auto& note : restore::write_restored(result, restored, options.files)) notes.push_back(std::move(note));
  if (writer) writer->write(restored, source_file, result);
  job.manifest = restored.manifest;
  if (!notes.empty()) job.manifest["notes"] = notes;
  job.searched = !restored.searched.empty();
  job.result = {{"width", restored.picture.pixels.size(2)},
                {"height", restored.picture.pixels.size(1)},
                {"format", options.files.format},
                {"bytes", std::filesystem::file_size(result)}};
}

std::vector<std::string> Worker::add_caption(const restore::CaptionedPicture& of, const Job& task, std::string& caption) const {
  try {
    caption = restore::caption_of(*workers_.captioner, *workers_.restorer, of, task);
    return {};
  } catch (const UserError& error) {  // without one it goes on, unless a reward asks for it, which then says so
    return {std::string("no caption: ") + error.what()};
  }
}

void Worker::report(const JobRecord& job, const Progress& progress) {
  if (progress.done != progress.of && Clock::now() - reported_ < kProgressEvery) return;
  reported_ = Clock::now();
  Json told = {{"stage", progress.stage}, {"done", progress.done}, {"of", progress.of > 0 ? Json(progress.of) : Json()}};
  const double fraction = progress.of > 0 ? std::min(1.0, static_cast<double>(progress.done) / static_cast<double>(progress.of)) : 0;
  told["fraction"] = progress.of > 0 ? Json(fraction) : Json();
  told["seconds_left"] = fraction > 0 ? Json(seconds_since(begun_) / fraction * (1 - fraction)) : Json();
  feed_.set_progress(job.id, told);
}

}  // namespace resflow::server
