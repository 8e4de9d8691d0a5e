#include "server/exchange.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>

#include "resflow/core/error.h"
#include "resflow/core/parse_json.h"
#include "server/connection.h"
#include "server/http_error.h"

namespace resflow::server {
namespace {

constexpr int64_t kMostFieldBytes = 1 << 20;  // of all text fields of a form
constexpr size_t kMostFiles = 16;
constexpr size_t kPiece = 1 << 18;

[[noreturn]] void refuse(int status, const std::string& message, const std::string& hint = "") {
  throw HttpError{.status = status, .code = code_of_status(status), .message = message, .hint = hint};
}

// Why a body could not be read to its end.
[[noreturn]] void refuse_body(const std::string& what, int64_t most) {
  const auto* connection = Connection::current();
  if (connection != nullptr && connection->over_limit()) refuse(413, fmt::format("the request is larger than {} bytes", most));
  if (connection != nullptr && connection->timed_out())
    throw HttpError{.status = 408, .code = "too_slow", .message = "the request came too slowly", .hint = ""};
  refuse(400, "the body is no whole " + what);
}

// Bodies that are held in memory, all requests together.
std::atomic<int64_t> bytes_in_memory{0};
struct MemoryShare {
  int64_t bytes = 0;
  ~MemoryShare() { bytes_in_memory -= bytes; }
  void grow(int64_t by, int64_t most) {
    bytes += by;
    if ((bytes_in_memory += by) > most)
      throw HttpError{
          .status = 503, .code = "unavailable", .message = "too many large requests at once", .hint = "Try again", .headers = {{"Retry-After", "5"}}};
  }
};

// "name" and name*=UTF-8''... of RFC 6266.
std::string disposition(const std::string& kind, const std::string& name) {
  std::string plain, encoded;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    plain += byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\' ? '_' : c;
    const bool unreserved = std::isalnum(byte) != 0 || std::string_view("!#$&+-.^_`|~").find(c) != std::string_view::npos;
    encoded += unreserved && byte < 0x80 ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return kind + "; filename=\"" + plain + "\"; filename*=UTF-8''" + encoded;
}

}  // namespace

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }
std::string valid_utf8(const std::string& text) { return Json::parse(text_of(Json(text))).get<std::string>(); }

std::string Exchange::parameter(const std::string& name) const { return request.has_param(name) ? valid_utf8(request.get_param_value(name)) : ""; }

const ReceivedFile& Form::picture() const {
  const auto pictures = std::count_if(files.begin(), files.end(), [](const auto& file) { return file->field != "mask"; });
  if (pictures != 1) throw_user_error({.where = "image", .wanted = "one file in the form's field image", .got = std::to_string(pictures)});
  return **std::find_if(files.begin(), files.end(), [](const auto& file) { return file->field != "mask"; });
}

const ReceivedFile* Form::mask() const {
  const auto masks = std::count_if(files.begin(), files.end(), [](const auto& file) { return file->field == "mask"; });
  if (masks > 1) throw_user_error({.where = "mask", .wanted = "one file in the form's field mask", .got = std::to_string(masks)});
  const auto found = std::find_if(files.begin(), files.end(), [](const auto& file) { return file->field == "mask"; });
  return found == files.end() ? nullptr : found->get();
}

Form Exchange::form(const JobFiles& files, const std::set<std::string>& file_fields) const {
  if (content == nullptr || !request.is_multipart_form_data())
    refuse(415, "wanted a form with a picture: Content-Type multipart/form-data", "curl -F image=@photo.jpg ...");
  Form out;
  std::ofstream file;
  std::string* field = nullptr;
  int64_t field_bytes = 0;
  std::string why;
  const bool whole = (*content)(
      [&](const httplib::MultipartFormData& part) {
        if (file.is_open()) file.close();
        field = nullptr;
        if (file_fields.contains(part.name)) {
          if (out.files.size() == kMostFiles) return why = "too many files in one request", false;
          out.files.push_back(std::make_unique<ReceivedFile>(files.new_upload()));
          out.files.back()->name = valid_utf8(part.filename);
          out.files.back()->field = part.name;
          file.open(out.files.back()->path, std::ios::binary | std::ios::trunc);
        } else {
          field = &out.fields[part.name];
          field->clear();
        }
        return true;
      },
      [&](const char* data, size_t size) {
        if (field != nullptr) {
          if ((field_bytes += static_cast<int64_t>(size)) > kMostFieldBytes) return why = "the form's fields are too large", false;
          field->append(data, size);
        } else {
          file.write(data, static_cast<std::streamsize>(size));
        }
        return true;
      });
  if (file.is_open()) file.close();
  if (!why.empty()) refuse(413, why);
  if (!whole) refuse_body("form", max_body);
  Connection::current()->body_is_read();
  if (!file) throw HttpError{.status = 503, .code = "no_space", .message = "the picture cannot be stored", .hint = "Try again later"};
  Form clean;
  clean.files = std::move(out.files);
  for (const auto& [name, text] : out.fields) clean.fields[valid_utf8(name)] = valid_utf8(text);
  return clean;
}

Json Exchange::json_body(int64_t most) const {
  const std::string type = request.get_header_value("Content-Type");
  // Other types could be sent by a foreign page's form without the browser asking first.
  if (content == nullptr || !type.starts_with("application/json")) refuse(415, "wanted Content-Type: application/json");
  MemoryShare share;
  std::string body;
  bool large = false;
  const bool whole = (*content)([&](const char* data, size_t size) {
    if (static_cast<int64_t>(body.size() + size) > most) return large = true, false;
    share.grow(static_cast<int64_t>(size), 4 * max_body);
    body.append(data, size);
    return true;
  });
  if (large) refuse(413, fmt::format("the request is larger than {} bytes", most));
  if (!whole) refuse_body("JSON", max_body);
  Connection::current()->body_is_read();
  Json json = parse_json(body);
  if (!json.is_object()) refuse(400, "the body is no JSON object");
  return json;
}

void Exchange::reply(const Json& json, int status) const {
  response.status = status;
  response.set_content(text_of(json), "application/json");
}

void Exchange::send(const SentFile& file, bool download) const {
  const std::shared_ptr<int> handle(new int(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC)), [](int* fd) {
    if (*fd >= 0) ::close(*fd);
    delete fd;
  });
  const off_t size = *handle < 0 ? -1 : ::lseek(*handle, 0, SEEK_END);
  if (size < 0) refuse(404, "the file is no longer there");
  response.set_header("Content-Disposition", disposition(download ? "attachment" : "inline", file.name));
  response.set_content_provider(static_cast<size_t>(size), file.type, [handle](size_t offset, size_t length, httplib::DataSink& sink) {
    std::string piece(std::min(length, kPiece), '\0');
    const ssize_t got = ::pread(*handle, piece.data(), piece.size(), static_cast<off_t>(offset));
    return got > 0 && sink.write(piece.data(), static_cast<size_t>(got));
  });
}

}  // namespace resflow::server
