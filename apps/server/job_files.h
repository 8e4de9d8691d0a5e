// Where a job's files are: DATA/jobs/ID/source.png, result.png, trace.json, trace.pictures/, preview.jpg, shown copies for browsers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "server/job.h"

namespace resflow::server {

// What a mask's pixels say. white: restored where white, only enlarged where black. transparent: restored where transparent (OpenAI's).
enum class MaskKind { white, transparent };

class JobFiles {
 public:
  // Makes the folders. Throws UserError where they cannot be.
  explicit JobFiles(std::filesystem::path data);

  std::filesystem::path database() const { return data_ / "queue.sqlite"; }
  std::filesystem::path folder(const std::string& id) const { return data_ / "jobs" / id; }
  std::filesystem::path source(const JobRecord& job) const;
  std::filesystem::path result(const JobRecord& job) const;
  // Of a job with a mask one of the two is there.
  std::filesystem::path mask(const std::string& id, MaskKind kind) const {
    return folder(id) / (kind == MaskKind::white ? "mask" : "mask-transparent");
  }
  std::filesystem::path trace(const std::string& id) const { return folder(id) / "trace.json"; }
  std::filesystem::path preview(const std::string& id) const { return folder(id) / "preview.jpg"; }
  // A copy that browsers can show, of "source" or "result".
  std::filesystem::path shown(const std::string& id, const std::string& what, const std::string& extension) const;
  // A name for what is being received.
  std::filesystem::path new_upload() const;

  void remove(const std::string& id) const;
  // What a killed server left: uploads, folders of jobs that are not in `known`, halves of files.
  void remove_leftovers(const std::vector<std::string>& known) const;

 private:
  std::filesystem::path data_;
};

// $XDG_STATE_HOME/resflow, or ~/.local/state/resflow.
std::filesystem::path default_data_folder();

// "picture.tif" of tiff.
std::string extension_of_format(const std::string& format);
// A client's file name, fit to be stored and sent back: its last part, without control characters, at most 200 bytes of UTF-8.
std::string safe_name(const std::string& name);

}  // namespace resflow::server
