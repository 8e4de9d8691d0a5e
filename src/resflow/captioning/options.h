// How pictures get their captions. --help, the manifest and the docs are drawn from this list.
#pragma once

#include <string>
#include <vector>

#include "resflow/core/fields.h"

namespace resflow::captioning {

// none, and the captioners of list.inc.
std::vector<std::string> captioner_names();

struct CaptionOptions {
  std::string captioner = "none";
  std::string url = "http://127.0.0.1:8080/v1", model;
  std::string prompt =
      "Describe this photograph in one or two plain sentences: what it shows, where things are, materials and colours. "
      "Do not mention blur, noise, compression or the picture's quality.";
  double timeout = 120;
  int64_t retries = 2, tokens = 200;
  bool cache = true;

  template <class Self, class Visitor>
  static void fields(Self& o, Visitor&& visit) {
    visit("captioner", o.captioner, "Who says what a picture shows", OneOf{captioner_names()});
    visit("caption_url", o.url, "openai: address of the API, up to and with /v1 (llama.cpp, vLLM, Ollama, OpenAI)");
    visit("caption_model", o.model, "openai: name of the model; empty = the first that the server lists");
    visit("caption_prompt", o.prompt, "openai: what the model is asked");
    visit("caption_timeout", o.timeout, "openai: seconds to wait for an answer", Range{0.1, 3600});
    visit("caption_retries", o.retries, "openai: further tries when the server is not there, busy or too slow", Range{0, 10});
    visit("caption_tokens", o.tokens, "openai: longest answer, in tokens", Range{1, 4096});
    visit("caption_cache", o.cache, "openai: keep answers in ~/.cache/resflow/captions, by picture, model and prompt");
  }
};

}  // namespace resflow::captioning
