#include "resflow/restore/batch.h"

#include <ATen/ATen.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <set>

#include "resflow/core/files.h"
#include "resflow/core/io_thread.h"
#include "resflow/core/log.h"
#include "resflow/image/resize.h"
#include "resflow/image/side_by_side.h"
#include "resflow/restore/assurance.h"
#include "resflow/restore/batch_log.h"
#include "resflow/restore/caption.h"
#include "resflow/restore/faithfulness.h"
#include "resflow/restore/journal.h"
#include "resflow/restore/trace_files.h"

namespace resflow::restore {
namespace {

namespace fs = std::filesystem;

// Pictures above this are not held three at a time (one read ahead, one at work, one being written): 12 bytes a pixel each.
constexpr double kReadAheadPixels = 32e6;

std::string now_in_words() {
  const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}Z", now);
}

// What is told of an error that only this picture has; others go on up.
template <class Action>
std::optional<std::string> failure_of(Action&& action) {
  try {
    action();
    return std::nullopt;
  } catch (const UserError& error) {
    return error.what();
  } catch (const std::bad_alloc& error) {
    return readable_message(error);
  } catch (const c10::Error& error) {
    if (!readable_message(error).starts_with("out of memory")) throw;
    return readable_message(error);
  }
}

bool reads_ahead(const fs::path& input, const RestoreOptions& options) {
  bool small = false;
  failure_of([&] {
    const auto info = image::probe(input);
    const Size size = target_size(options, {.width = info.width, .height = info.height});
    small = static_cast<double>(size.width) * static_cast<double>(size.height) <= kReadAheadPixels;
  });
  return small;
}

// One run over a list of pictures.
class Run {
 public:
  Run(const Restorer& restorer, const BatchOptions& options, const std::function<void(const Json&)>& on_item)
      : restorer_(restorer), options_(options), on_item_(on_item), captioner_(captioning::make_captioner(options.captions)) {}

  void prepare(const std::vector<BatchItem>& items) {
    std::set<fs::path> folders;
    for (const auto& item : items)
      if (folders.insert(item.output.parent_path()).second) create_folder(item.output.parent_path());
    for (const auto& beside : {options_.compare, options_.change_map})
      if (!beside.empty()) create_folder(beside.parent_path());
    if (!options_.mask.empty()) mask_ = image::read_picture(options_.mask, options_.limits).pixels;
    trace_folder_ = items.size() > 1 || !options_.trace.has_filename() || fs::is_directory(options_.trace);
    if (!options_.trace.empty()) create_folder(trace_folder_ ? options_.trace : options_.trace.parent_path());
    if (!options_.log.empty()) log_.emplace(options_.log);
    if (options_.journal.empty()) return;
    journal_.emplace(options_.journal, settings());
    for (const auto& folder : folders) remove_leftovers(folder);
  }

  // The entry of a picture that needs nothing done.
  std::optional<Json> skipped(const BatchItem& item) {
    if (journal_)
      if (auto entry = journal_->done(item)) {
        if (log_) log_->add(*entry);  // where the last run ended between the two
        (*entry)["skipped"] = "done before";
        return entry;
      }
    if (options_.skip_existing && fs::exists(item.output))
      return Json{{"input", item.input.string()}, {"output", item.output.string()}, {"skipped", "the result exists"}};
    return std::nullopt;
  }

  BatchResult restore(const std::vector<BatchItem>& items, const Job& job) {
    std::vector<BatchItem> todo;
    for (const auto& item : items)
      if (auto entry = skipped(item)) {
        ++result_.skipped;
        on_item_(*entry);
        result_.items.push_back(std::move(*entry));
      } else {
        todo.push_back(item);
      }
    std::future<Source> next;
    IoThread io;  // ends before what its work refers to
    for (size_t i = 0; i < todo.size(); ++i) {
      job.throw_if_stopped();
      if (!next.valid()) next = io.run([this, &item = todo[i]] { return read(item); });
      Source source = next.get();
      if (i + 1 < todo.size() && reads_ahead(todo[i + 1].input, options_.restore)) next = io.run([this, &item = todo[i + 1]] { return read(item); });
      Job part{.on_progress =
                   [&job, i, &todo](Progress progress) {
                     progress.item = static_cast<int64_t>(i);
                     progress.of_items = static_cast<int64_t>(todo.size());
                     job.report(progress);
                   },
               .stop = job.stop};
      auto made = make(todo[i], std::move(source), part);
      finish_writing();
      const bool alone = made->restored && made->restored->picture.pixels.numel() / 3 > static_cast<int64_t>(kReadAheadPixels);
      writing_ = io.run([this, made] { return write(*made); });
      if (alone) finish_writing();
    }
    finish_writing();
    return std::move(result_);
  }

 private:
  struct Source {
    image::Picture picture;
    std::optional<std::string> error;
  };
  struct Made {
    BatchItem item;
    std::vector<std::string> notes;
    std::optional<Restored> restored;
    std::optional<TraceWriter> writer;
    fs::path trace;
    Tensor before;  // the source's pixels, where they are shown beside the result
    std::optional<std::string> error;
  };

  Json settings() const {
    Json out = {{"restore", fields_to_json(options_.restore)},
                {"search", fields_to_json(options_.search)},
                {"files", fields_to_json(options_.encode)},
                {"model", restorer_.fingerprint()}};
    if (const auto* remover = restorer_.remover()) out["remover"] = remover->fingerprint();
    if (Json told = restorer_.told(); !told.empty()) out["fusion"] = std::move(told);
    return out;
  }

  Source read(const BatchItem& item) {
    if (journal_) journal_->started(item);
    Source source;
    source.error = failure_of([&] { source.picture = image::read_picture(item.input, options_.limits); });
    return source;
  }

  std::shared_ptr<Made> make(const BatchItem& item, Source source, const Job& job) {
    auto made = std::make_shared<Made>();
    made->item = item;
    made->notes = source.picture.notes;
    made->error = source.error;
    if (made->error) return made;
    made->error = failure_of([&] {
      if (!options_.trace.empty()) {
        made->trace = trace_folder_ ? options_.trace / (item.output.stem().string() + ".json") : options_.trace;
        made->writer.emplace(made->trace, options_.trace_pictures);
      }
      RestoreOptions wanted = options_.restore;
      if (captioner_ && wanted.caption.empty()) {
        // Without one it goes on, unless a reward asks for it, which then says so.
        const auto failure =
            failure_of([&] { wanted.caption = caption_of(*captioner_, restorer_, {.file = item.input, .picture = source.picture}, job); });
        if (failure) made->notes.push_back("no caption: " + *failure);
      }
      made->restored = restorer_.restore(source.picture, wanted, options_.search, job, made->writer ? made->writer->watch() : SearchWatch{});
      if (mask_.defined()) {
        apply_mask(source.picture, mask_, *made->restored);
        made->restored->manifest["mask"] = options_.mask.filename().string();
        made->restored->manifest["faithfulness"] = to_json(faithfulness(source.picture.pixels, made->restored->picture.pixels));
      }
    });
    if (!options_.compare.empty() || !options_.change_map.empty()) made->before = source.picture.pixels;
    return made;
  }

  Json write(Made& made) {
    const BatchItem& item = made.item;
    Json entry = {{"input", item.input.string()}};
    if (!made.error) {
      made.error = failure_of([&] {
        Json told = {{"input", item.input.string()}, {"output", item.output.string()}};
        told.update(made.restored->manifest);
        told["finished"] = now_in_words();
        if (journal_) journal_->writing(item, told);
        auto notes = std::move(made.notes);
        notes.insert(notes.end(), made.restored->notes.begin(), made.restored->notes.end());
        for (auto& note : write_restored(item.output, *made.restored, options_.encode)) notes.push_back(std::move(note));
        if (!notes.empty()) told["notes"] = notes;
        if (made.writer) {
          made.writer->write(*made.restored, item.input, item.output);
          told["trace"] = made.trace.string();
        }
        if (!options_.compare.empty()) {
          const Tensor& pixels = made.restored->picture.pixels;
          image::Picture sheet;
          sheet.pixels = image::side_by_side({image::resize(made.before, pixels.size(1), pixels.size(2)).clamp_(0, 1), pixels});
          image::write_picture(options_.compare, sheet);
          told["compare"] = options_.compare.string();
        }
        if (!options_.change_map.empty()) {
          const Tensor& pixels = made.restored->picture.pixels;
          image::Picture map;
          map.pixels = heat_map(faithfulness(made.before, pixels), pixels);
          image::write_picture(options_.change_map, map);
          told["change_map"] = options_.change_map.string();
        }
        entry = std::move(told);
      });
    }
    if (made.error) {
      entry["error"] = *made.error;
      entry["finished"] = now_in_words();
    }
    if (journal_) journal_->finished(item, entry);
    if (log_) log_->add(entry);
    return entry;
  }

  void finish_writing() {
    if (!writing_.valid()) return;
    Json entry = writing_.get();
    if (entry.contains("error")) ++result_.failed;
    on_item_(entry);
    result_.items.push_back(std::move(entry));
  }

  const Restorer& restorer_;
  const BatchOptions& options_;
  const std::function<void(const Json&)>& on_item_;
  const std::unique_ptr<captioning::Captioner> captioner_;  // null: none
  bool trace_folder_ = false;
  Tensor mask_;  // undefined: none
  std::optional<Journal> journal_;
  std::optional<BatchLog> log_;
  std::future<Json> writing_;
  BatchResult result_;
};

}  // namespace

BatchResult run_batch(const Restorer& restorer, const std::vector<BatchItem>& items, const BatchOptions& options, const Job& job,
                      const std::function<void(const Json&)>& on_item) {
  Run run(restorer, options, on_item);
  run.prepare(items);
  return run.restore(items, job);
}

std::vector<std::string> write_restored(const fs::path& path, const Restored& restored, image::EncodeOptions encode) {
  Json told = restored.manifest;
  told.erase("seconds");  // the same picture is the same file
  told["files"] = fields_to_json(encode);
  encode.text["parameters"] = parameters_text(told);
  encode.text["resflow"] = told.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (restored.picture.grey) encode.grey = true;
  return image::write_picture(path, restored.picture, encode);
}

std::string parameters_text(const Json& manifest) {
  const auto& options = manifest.at("options");
  const auto& model = manifest.at("model");
  const std::string remover = model.contains("remover") ? fmt::format(", Remover: {}, Remover hash: {}", model["remover"]["name"].get<std::string>(),
                                                                      model["remover"]["fingerprint"].get<std::string>())
                                                        : "";
  const bool flux = model.contains("fusion");
  const std::string caption = flux ? options.at("caption").get<std::string>() : "";
  const std::string own = flux ? "Distilled CFG Scale: " + options.at("guidance").dump() : "Sigma s: " + options.at("sigma_s").dump();
  return fmt::format("{}{}Steps: {}, Sampler: {}, Seed: {}, Size: {}x{}, Model hash: {}, Model: {}, Denoising strength: {}, {}{}, Version: {}",
                     caption, caption.empty() ? "" : "\n", options.at("steps").dump(), options.at("sampler").get<std::string>(),
                     options.at("seed").dump(), manifest.at("result").at("width").dump(), manifest.at("result").at("height").dump(),
                     model.at("fingerprint").get<std::string>(), model.at("name").get<std::string>(), options.at("strength").dump(), own, remover,
                     manifest.at("program").get<std::string>());
}

}  // namespace resflow::restore
