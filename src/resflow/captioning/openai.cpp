// A vision model behind OpenAI's chat API: llama.cpp's server, vLLM, Ollama, transformers serve, OpenAI itself. The picture goes as a data URL.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <httplib.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "resflow/captioning/caption_cache.h"
#include "resflow/captioning/captioner.h"
#include "resflow/core/base64.h"
#include "resflow/core/error.h"
#include "resflow/core/files.h"
#include "resflow/core/json.h"
#include "resflow/core/parse_json.h"
#include "resflow/image/codec.h"
#include "resflow/image/resize.h"

namespace resflow::captioning {
namespace {

namespace fs = std::filesystem;
using Seconds = std::chrono::duration<double>;

constexpr int64_t kLargestSide = 768;  // what vision models look at anyway
constexpr double kConnectSeconds = 5, kFirstPause = 0.5, kLongestPause = 30;
constexpr size_t kMostAnswer = 1 << 20;

struct Address {
  std::string host;  // "http://127.0.0.1:8080"
  std::string path;  // "/v1"
};

Address parse_address(const std::string& url) {
  const size_t scheme = url.find("://");
  const std::string name = url.substr(0, scheme == std::string::npos ? 0 : scheme);
  const size_t slash = scheme == std::string::npos ? scheme : url.find('/', scheme + 3);
  const std::string host = url.substr(0, slash);
  if ((name != "http" && name != "https") || host.size() <= name.size() + 3 || host.find('@') != std::string::npos)
    throw_user_error({.where = "--caption-url", .problem = "is no address", .wanted = "http://HOST:PORT/v1, or https://", .got = url});
  std::string path = slash == std::string::npos ? "" : url.substr(slash);
  while (path.ends_with('/')) path.pop_back();
  return {host, path};
}

// A JPEG of the picture, no side above kLargestSide.
std::string jpeg_of(const Tensor& pixels) {
  const int64_t h = pixels.size(1), w = pixels.size(2), side = std::max(h, w);
  const auto scaled = [&](int64_t length) { return std::max<int64_t>(1, (length * kLargestSide + side / 2) / side); };
  image::Picture small;
  small.pixels = side > kLargestSide ? image::resize(pixels, scaled(h), scaled(w)).clamp(0, 1) : pixels;
  std::string name = (fs::temp_directory_path() / "resflow-caption-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    throw_user_error({.where = name, .problem = "no temporary folder can be made", .hint = "Check TMPDIR and free space"});
  const fs::path folder(name);
  std::string bytes;
  try {
    image::write_picture(folder / "picture.jpg", small, {.quality = 90});
    bytes = read_text(folder / "picture.jpg");
  } catch (...) {
    fs::remove_all(folder);
    throw;
  }
  fs::remove_all(folder);
  return bytes;
}

// OpenAI's {"error": {"message"}}, FastAPI's {"detail"}, or the text's beginning.
std::string told_by(const std::string& body) {
  const Json json = parse_json(body);
  if (json.is_object()) {
    const Json& error = json.contains("error") ? json["error"] : json;
    if (error.is_object() && error.contains("message") && error["message"].is_string()) return error["message"];
    if (error.is_string()) return error;
    if (json.contains("detail")) return json["detail"].dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 300);
  }
  return tidy_caption(body).substr(0, 300);
}

// "content" is a text, or a list of parts.
std::string words_of(const Json& answer) {
  const auto choices = answer.is_object() ? answer.find("choices") : answer.end();
  if (!answer.is_object() || choices == answer.end() || !choices->is_array() || choices->empty()) return "";
  const Json content = choices->front().value("message", Json::object()).value("content", Json());
  if (content.is_string()) return content;
  std::string out;
  if (content.is_array())
    for (const auto& part : content)
      if (part.is_object() && part.value("text", Json()).is_string()) out += part["text"].get<std::string>();
  return out;
}

class OpenAi final : public Captioner {
 public:
  explicit OpenAi(const CaptionOptions& options) : options_(options), address_(parse_address(options.url)), cache_(options.cache) {
    if (const char* key = std::getenv("OPENAI_API_KEY"); key != nullptr && *key != '\0')
      headers_.emplace("Authorization", std::string("Bearer ") + key);
  }

  std::string caption(const CaptionRequest& request) const override {
    const std::string jpeg = jpeg_of(request.pixels());
    const std::string key = CaptionCache::key(
        Json::array({options_.url, options_.model, options_.prompt, options_.tokens}).dump(-1, ' ', false, Json::error_handler_t::replace) + '\n' +
        jpeg);
    if (auto known = cache_.find(key)) return *known;
    const Json question = {
        {"model", model(request.stop)},
        {"temperature", 0},
        {"seed", 0},
        {"max_tokens", options_.tokens},
        {"stream", false},
        {"messages",
         Json::array(
             {{{"role", "user"},
               {"content", Json::array({{{"type", "text"}, {"text", options_.prompt}},
                                        {{"type", "image_url"}, {"image_url", {{"url", "data:image/jpeg;base64," + encode_base64(jpeg)}}}}})}}})}};
    const Json answer = asked(request.stop, [&](httplib::Client& client) {
      return client.Post((address_.path + "/chat/completions").c_str(), headers_, question.dump(-1, ' ', false, Json::error_handler_t::replace),
                         "application/json");
    });
    auto words = tidy_caption(words_of(answer));
    if (words.empty()) fail("the answer holds no words", answer.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 200));
    cache_.add(key, words);
    return words;
  }

 private:
  [[noreturn]] void fail(const std::string& problem, const std::string& got, const std::string& hint = "") const {
    throw_user_error({.where = options_.url, .problem = problem, .got = got, .hint = hint});
  }

  // Asked once: the first model that the server lists.
  const std::string& model(const std::stop_token& stop) const {
    if (!options_.model.empty()) return options_.model;
    if (!listed_.empty()) return listed_;
    const Json models = asked(stop, [&](httplib::Client& client) { return client.Get((address_.path + "/models").c_str(), headers_); });
    const Json data = models.is_object() ? models.value("data", Json::array()) : Json::array();
    if (!data.is_array() || data.empty() || !data[0].is_object() || !data[0].value("id", Json()).is_string())
      fail("lists no model", models.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 200), "Name one with --caption-model");
    return listed_ = data[0]["id"].get<std::string>();
  }

  // Sends until there is an answer: again where the server is not there, busy, too slow or broken (429, 5xx). Throws Cancelled.
  template <class Send>
  Json asked(const std::stop_token& stop, Send&& send) const {
    double pause = kFirstPause;
    for (int64_t tries_left = options_.retries;; --tries_left) {
      httplib::Client client(address_.host);
      client.set_connection_timeout(Seconds(kConnectSeconds));
      client.set_read_timeout(Seconds(options_.timeout));
      client.set_write_timeout(Seconds(options_.timeout));
      client.set_follow_location(true);
      const httplib::Result reply = [&] {
        const std::stop_callback hang_up(stop, [&client] { client.stop(); });
        if (stop.stop_requested()) throw Cancelled();
        return send(client);
      }();
      if (stop.stop_requested()) throw Cancelled();
      if (reply && reply->status == 200) {
        if (reply->body.size() > kMostAnswer) fail("the answer is too large", fmt::format("{} bytes", reply->body.size()));
        Json json = parse_json(reply->body);
        if (json.is_discarded()) fail("the answer is no JSON", tidy_caption(reply->body).substr(0, 200), "Does the address end with /v1?");
        return json;
      }
      const bool passing = !reply || reply->status == 429 || reply->status >= 500;
      if (!passing || tries_left == 0) refuse(reply);
      if (reply && reply->has_header("Retry-After")) pause = std::max(pause, std::atof(reply->get_header_value("Retry-After").c_str()));
      wait(stop, std::min(pause, kLongestPause));
      pause *= 2;
    }
  }

  static void wait(const std::stop_token& stop, double seconds) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop, Seconds(seconds), [] { return false; });
  }

  [[noreturn]] void refuse(const httplib::Result& reply) const {
    const std::string tries = options_.retries > 0 ? fmt::format(" ({} tries)", options_.retries + 1) : "";
    if (!reply) {
      const bool slow = reply.error() == httplib::Error::Read;
      fail((slow ? "gave no answer in time" : "cannot be reached") + tries, httplib::to_string(reply.error()),
           slow ? "Raise --caption-timeout" : "Is the server running, and the address right?");
    }
    fail(fmt::format("answered {}{}", reply->status, reply->status == 429 || reply->status >= 500 ? tries : ""), told_by(reply->body),
         reply->status == 401 || reply->status == 403 ? "Set OPENAI_API_KEY"
         : reply->status == 404                       ? "Does the address end with /v1?"
                                                      : "");
  }

  const CaptionOptions options_;
  const Address address_;
  const CaptionCache cache_;
  httplib::Headers headers_;
  mutable std::string listed_;
};

}  // namespace

std::unique_ptr<Captioner> make_captioner_openai(const CaptionOptions& options) { return std::make_unique<OpenAi>(options); }

}  // namespace resflow::captioning
