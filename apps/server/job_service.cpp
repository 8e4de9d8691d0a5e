#include "server/job_service.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "resflow/core/error.h"
#include "resflow/core/log.h"
#include "resflow/restore/assurance.h"
#include "resflow/restore/batch.h"
#include "resflow/restore/faithfulness.h"
#include "resflow/restore/trace_files.h"
#include "resflow/rewards/panel_check.h"
#include "server/http_error.h"

namespace resflow::server {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int64_t kMostAttempts = 3;
constexpr int64_t kPngPixels = 8'000'000;  // a larger copy for a browser is a JPEG: PNG would take seconds

[[noreturn]] void refuse(int status, const std::string& message, const std::string& hint = "") {
  throw HttpError{.status = status, .code = code_of_status(status), .message = message, .hint = hint};
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) text.replace(at, what.size(), by);
  return text;
}

// The header's facts; what is no picture is told by the client's name for it.
image::ImageInfo probed(const ReceivedFile& picture) {
  try {
    return image::probe(picture.path);
  } catch (const UserError& error) {
    throw HttpError{.status = 415, .code = "bad_picture", .message = replaced(error.what(), picture.path.string(), picture.name), .hint = ""};
  }
}

// As restore::apply_mask() will, from the headers; before the job is queued.
void check_mask(const ReceivedFile& mask, const image::ImageInfo& picture, const ServeOptions& limits) {
  const auto info = probed(mask);
  const auto ratio = [](const image::ImageInfo& of) { return static_cast<double>(of.width) / static_cast<double>(of.height); };
  if (std::abs(std::log(ratio(info) / ratio(picture))) > 0.02)
    throw_user_error({.where = "mask",
                      .problem = "the mask has another shape than the picture",
                      .wanted = fmt::format("{}:{}", picture.width, picture.height),
                      .got = fmt::format("{}:{}", info.width, info.height)});
  if (info.width * info.height > limits.max_pixels)
    throw HttpError{.status = 413, .code = "too_many_pixels", .message = "the mask is too large", .hint = "Send a smaller one"};
}

void flush(const fs::path& file) {
  const int handle = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  const bool flushed = handle >= 0 && ::fsync(handle) == 0;
  if (handle >= 0) ::close(handle);
  if (!flushed) throw HttpError{.status = 503, .code = "no_space", .message = "the picture cannot be stored", .hint = "Try again later"};
}

bool browsers_show(const image::ImageInfo& info) {
  return (info.format == "png") || (info.format == "jpg" && info.bands != 4);  // four: CMYK
}

}  // namespace

ReceivedFile::~ReceivedFile() {
  std::error_code ignored;
  fs::remove(path, ignored);
}

JobService::JobService(const ServeOptions& options, const fs::path& data, std::unique_ptr<restore::Restorer> restorer,
                       std::unique_ptr<captioning::Captioner> captioner)
    : options_(options),
      files_(data),
      store_(files_.database(), kMostAttempts),
      fingerprint_(restorer->fingerprint()),
      model_name_(restorer->name()),
      usual_tile_(restorer->defaults().tile),
      worker_({.restorer = std::move(restorer), .captioner = std::move(captioner)}, options_, store_, files_, feed_, metrics_) {
  files_.remove_leftovers(store_.ids());
  worker_.start();
  house_ = std::thread([this] { keep_house(); });
}

JobService::~JobService() { shut_down(); }

void JobService::shut_down() {
  if (ending_.exchange(true)) return;
  feed_.wake_all();
  worker_.stop(options_.grace);
  feed_.wake_all();
  {
    const std::lock_guard lock(house_mutex_);
    house_changed_.notify_all();
  }
  house_.join();
}

void JobService::keep_house() {
  auto cleaned = std::chrono::steady_clock::time_point{};
  while (!ending_) {
    worker_.check_time();
    try {
      if (const auto now = std::chrono::steady_clock::now(); now - cleaned > 30s) {
        cleaned = now;
        const auto before = time_now() - static_cast<Time>(options_.keep_hours * 3.6e6);
        for (const auto& id : store_.expired(before, options_.keep_jobs)) remove(id);
      }
    } catch (const std::exception& error) {
      log_warn(std::string("the queue: ") + error.what());
    }
    std::unique_lock lock(house_mutex_);
    house_changed_.wait_for(lock, 1s, [&] { return ending_.load(); });
  }
}

void JobService::remove(const std::string& id) {
  if (!store_.remove(id)) return;
  files_.remove(id);
  feed_.state_changed(id);
  feed_.forget(id);
}

std::vector<JobRecord> JobService::submit(const ReceivedFile& picture, std::vector<JobOptions> options, const std::optional<ReceivedMask>& mask) {
  if (ending_) refuse(503, "the server is shutting down", "Try again later");
  const auto info = probed(picture);
  if (mask) check_mask(mask->file, info, options_);
  std::vector<JobRecord> jobs;
  for (auto& wanted : options) {
    wanted.check();
    worker_.check(wanted.restore);
    if (wanted.search.strategy != "none")
      rewards::check_needs(wanted.search.rewards, !wanted.restore.caption.empty() || options_.captions.captioner != "none");
    wanted.fit(info, options_, usual_tile_);
    jobs.push_back({.id = new_job_id(),
                    .priority = wanted.priority,
                    .name = safe_name(picture.name),
                    .created = time_now(),
                    .options = wanted.to_json(),
                    .source = {{"width", info.width}, {"height", info.height}, {"format", info.format}},
                    .searched = wanted.search.strategy != "none"});
  }
  // Files first: a job in the queue has its picture, whenever the process or the machine ends.
  flush(picture.path);
  if (mask) flush(mask->file.path);
  const auto put = [](const fs::path& from, const fs::path& to) {
    std::error_code none;  // on file systems without links
    fs::create_hard_link(from, to, none);
    if (none) fs::copy_file(from, to);
  };
  try {
    for (const auto& job : jobs) {
      fs::create_directory(files_.folder(job.id));
      put(picture.path, files_.source(job));
      if (mask) put(mask->file.path, files_.mask(job.id, mask->kind));
    }
    if (!store_.add(jobs, options_.max_queue))
      throw HttpError{.status = 429,
                      .code = "queue_full",
                      .message = fmt::format("the queue is full: {} jobs wait", options_.max_queue),
                      .hint = "Try again later",
                      .headers = {{"Retry-After", "10"}}};
  } catch (...) {
    for (const auto& job : jobs) files_.remove(job.id);
    throw;
  }
  worker_.wake();
  feed_.queue_changed();
  return jobs;
}

JobRecord JobService::find(const std::string& id) {
  auto job = is_job_id(id) ? store_.find(id) : std::nullopt;
  if (!job) refuse(404, "no such job");
  return *job;
}

std::optional<JobRecord> JobService::running_job() {
  auto jobs = store_.list("running", 1);
  if (jobs.empty()) return std::nullopt;
  return jobs.front();
}

Json JobService::json(const JobRecord& job) {
  return job_json(job, job.state == State::queued ? store_.position(job) : 0, feed_.sight(job.id).progress_json);
}

JobRecord JobService::wait(const std::string& id, const std::function<bool()>& goes_on) {
  for (;;) {
    const Sight seen = feed_.sight(id);
    JobRecord job = find(id);
    if (is_final(job.state)) return job;
    if (ending_) refuse(503, "the server is shutting down; the job stays in its queue", "Look at /v1/jobs/" + id + " later");
    if (!goes_on()) {
      cancel(id);
      return find(id);
    }
    feed_.wait(id, seen, 1s);
  }
}

void JobService::cancel(const std::string& id) {
  const auto before = store_.find(id);
  if (!before || !store_.cancel(id)) return;
  worker_.cancel(id);
  // A running job is counted by the worker, which knows what it took.
  if (before->state == State::queued) metrics_.job_ended(State::cancelled, static_cast<double>(time_now() - before->created) / 1000, 0, 0);
  feed_.state_changed(id);
  feed_.queue_changed();
}

std::optional<JobRecord> JobService::cancel_or_remove(const std::string& id) {
  if (is_final(find(id).state)) {
    remove(id);
    return std::nullopt;
  }
  cancel(id);
  return find(id);
}

fs::path JobService::shown_copy(const JobRecord& job, const fs::path& file, const std::string& what) {
  return with_pictures([&] {
    for (const char* extension : {".png", ".jpg"})
      if (const auto made = files_.shown(job.id, what, extension); fs::exists(made)) return made;
    image::Picture picture = image::read_picture(file, {.max_pixels = static_cast<double>(options_.max_pixels)});
    const bool png = picture.alpha.defined() || picture.pixels.numel() / 3 <= kPngPixels;
    const auto made = files_.shown(job.id, what, png ? ".png" : ".jpg");
    picture.metadata = {};
    image::write_picture(made, picture, {.quality = 95, .bits = 8});
    return made;
  });
}

SentFile JobService::source(const JobRecord& job) {
  const auto file = files_.source(job);
  if (!fs::exists(file)) refuse(404, "the picture is no longer there");
  const auto shown = browsers_show(image::probe(file)) ? file : shown_copy(job, file, "source");
  return {.path = shown, .type = mime_type(shown.extension()), .name = job.name};
}

SentFile JobService::result(const JobRecord& job, bool for_browser) {
  if (job.state != State::done) refuse(is_final(job.state) ? 404 : 409, "there is no result: the job is " + name_of(job.state));
  auto file = files_.result(job);
  if (!fs::exists(file)) refuse(404, "the result is no longer there");
  const std::string name = fs::path(job.name).stem().string() + "-restored";
  if (for_browser && job.options.at("files").value("format", "") == "tiff") file = shown_copy(job, file, "result");
  return {.path = file, .type = mime_type(file.extension()), .name = name + file.extension().string()};
}

namespace {

restore::TraceFile trace_of(const JobRecord& job, const JobFiles& files) {
  if (!job.searched || !fs::exists(files.trace(job.id))) refuse(404, "nothing was searched, or the search is not done");
  return restore::TraceFile::read(files.trace(job.id));
}

}  // namespace

Json JobService::candidates(const JobRecord& job) {
  const auto trace = trace_of(job, files_);
  Json out = Json::array();
  // A picked candidate is the winner from then on.
  const Json picked = job.manifest.is_object() ? job.manifest.value("picked", Json::object()) : Json::object();
  for (size_t tile = 0; tile < trace.tiles().size(); ++tile) {
    const Json& search = trace.tiles()[tile].at("search");
    const Json winner = picked.value(std::to_string(tile), search.at("winner"));
    for (const auto& c : search.at("candidates")) {
      Json told = {{"id", c.at("id")},
                   {"tile", tile},
                   {"scores", c.at("scores")},
                   {"rank", c.at("rank")},
                   {"round", c.at("round")},
                   {"kind", c.at("kind")},
                   {"parent", c.at("parent")},
                   {"nfe", c.at("nfe")},
                   {"winner", c.at("id") == winner},
                   {"finished", c.at("finished")},
                   {"gated", c.at("gated")}};
      const std::string key = fmt::format("{}:{}", tile, c.at("id").dump());
      told["thumbnail"] =
          fs::exists(trace.small_picture(tile, c.at("id").get<int64_t>())) ? Json("/v1/jobs/" + job.id + "/candidates/" + key + "/picture") : Json();
      out.push_back(told);
    }
  }
  return {{"tiles", trace.tiles().size()}, {"candidates", out}};
}

SentFile JobService::candidate(const JobRecord& job, const std::string& tile_and_id, bool whole) {
  const auto trace = trace_of(job, files_);
  const auto picks = restore::parse_picks(tile_and_id, trace);
  const auto& [tile, id] = *picks.begin();
  const auto file = whole ? trace.whole_picture(tile, id) : trace.small_picture(tile, id);
  if (!fs::exists(file)) refuse(404, "there is no such picture of a candidate");
  return {.path = file, .type = mime_type(file.extension()), .name = file.filename().string()};
}

void mask_restored(const JobFiles& files, const JobRecord& job, const ServeOptions& limits, restore::Restored& made) {
  const image::DecodeLimits most{.max_pixels = static_cast<double>(limits.max_pixels)};
  for (const auto kind : {MaskKind::white, MaskKind::transparent}) {
    const auto file = files.mask(job.id, kind);
    if (!fs::exists(file)) continue;
    const image::Picture mask = image::read_picture(file, most), source = image::read_picture(files.source(job), most);
    const bool see_through = kind == MaskKind::transparent && mask.alpha.defined();
    restore::apply_mask(source, see_through ? (1 - mask.alpha).expand({3, -1, -1}).contiguous() : mask.pixels, made);
    made.manifest["mask"] = true;
    made.manifest["faithfulness"] = restore::to_json(restore::faithfulness(source.pixels, made.picture.pixels));
  }
}

JobRecord JobService::pick(const JobRecord& job, const std::string& picks) {
  if (job.state != State::done) refuse(409, "the job is " + name_of(job.state), "Wait until it is done");
  const auto trace = trace_of(job, files_);
  auto chosen = restore::parse_picks(picks, trace);
  // Tiles that are not named keep what was picked for them before.
  const Json before = job.manifest.is_object() ? job.manifest.value("picked", Json::object()) : Json::object();
  for (const auto& [tile, id] : before.items()) chosen.emplace(std::stoul(tile), id.get<int64_t>());
  with_pictures([&] {
    auto restored = restore::pick_candidates(trace, chosen);
    mask_restored(files_, job, options_, restored);
    const auto file = files_.result(job);
    const auto options = JobOptions::from_json(job.options);
    restore::write_restored(file, restored, options.files);
    std::error_code ignored;
    for (const char* extension : {".png", ".jpg"}) fs::remove(files_.shown(job.id, "result", extension), ignored);
    Json result = job.result;
    result["bytes"] = fs::file_size(file);
    if (!store_.replace_result(job.id, result, restored.manifest)) {
      files_.remove(job.id);
      refuse(404, "the job was removed meanwhile");
    }
  });
  feed_.state_changed(job.id);
  return find(job.id);
}

void throw_unfinished(const JobRecord& job) {
  if (!job.error.is_object())
    throw HttpError{
        .status = job.state == State::cancelled ? 409 : 503, .code = name_of(job.state), .message = "the job is " + name_of(job.state), .hint = ""};
  const auto code = job.error.value("code", "bug");
  const int status = code == "bug" ? 500 : code == "timeout" || code == "out_of_memory" || code == "crashed" ? 503 : 400;
  throw HttpError{.status = status, .code = code, .message = job.error.value("message", ""), .hint = ""};
}

std::string mime_type(std::string extension) {
  if (extension.starts_with('.')) extension.erase(0, 1);
  static const std::map<std::string, std::string> types{{"png", "image/png"},
                                                        {"jpg", "image/jpeg"},
                                                        {"jpeg", "image/jpeg"},
                                                        {"webp", "image/webp"},
                                                        {"avif", "image/avif"},
                                                        {"tif", "image/tiff"},
                                                        {"tiff", "image/tiff"},
                                                        {"svg", "image/svg+xml"},
                                                        {"ico", "image/x-icon"},
                                                        {"html", "text/html; charset=utf-8"},
                                                        {"css", "text/css; charset=utf-8"},
                                                        {"js", "text/javascript; charset=utf-8"},
                                                        {"mjs", "text/javascript; charset=utf-8"},
                                                        {"json", "application/json"},
                                                        {"webmanifest", "application/manifest+json"},
                                                        {"woff2", "font/woff2"},
                                                        {"txt", "text/plain; charset=utf-8"},
                                                        {"map", "application/json"}};
  const auto found = types.find(extension);
  return found == types.end() ? "application/octet-stream" : found->second;
}

}  // namespace resflow::server
