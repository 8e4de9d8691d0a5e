// A small program for the pytest suites: what resflow::image makes of a file.
//   image_probe info FILE                      JSON of the header
//   image_probe read FILE OUT.f32 [MAXPIXELS]  planes as raw float32 (colours, then alpha), JSON of the rest
//   image_probe write FILE OUT JSON            decodes and encodes; JSON: {"options": EncodeOptions, "text": {key: text}}
//   image_probe resize IN.f32 OUT.f32 HEIGHT WIDTH NEW_HEIGHT NEW_WIDTH KERNEL     one plane
//   image_probe serve                          reads a JSON array of such arguments a line, answers {"code", "answer" or "error"}
//   image_probe color-fix NAME CONTENT.f32 STYLE.f32 OUT.f32 HEIGHT WIDTH          three planes each
#include <ATen/ATen.h>

#include <fstream>
#include <iostream>

#include "resflow/core/json.h"
#include "resflow/image/codec.h"
#include "resflow/image/color_fix.h"
#include "resflow/image/resize.h"

namespace {

using namespace resflow;
using namespace resflow::image;

void dump(const std::string& path, const std::vector<Tensor>& tensors) {
  std::ofstream out(path, std::ios::binary);
  for (const auto& tensor : tensors)
    if (tensor.defined()) out.write(static_cast<const char*>(tensor.contiguous().data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
}

Tensor load(const std::string& path, at::IntArrayRef shape) {
  Tensor tensor = at::empty(shape, at::kFloat);
  std::ifstream(path, std::ios::binary).read(static_cast<char*>(tensor.data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
  return tensor;
}

Json described(const Picture& p) {
  return {{"height", p.pixels.size(1)},
          {"width", p.pixels.size(2)},
          {"alpha", p.alpha.defined()},
          {"bits", p.bits},
          {"grey", p.grey},
          {"notes", p.notes},
          {"format", p.metadata.format},
          {"pages", p.metadata.pages},
          {"icc_name", p.metadata.icc_name},
          {"exif", p.metadata.exif.size()},
          {"xmp", p.metadata.xmp},
          {"icc", p.metadata.icc.size()},
          {"text", p.metadata.text},
          {"exif_fields", p.metadata.exif_fields}};
}

Json run(const std::vector<std::string>& a) {
  if (a.at(0) == "info") {
    const auto info = probe(a.at(1));
    return {{"width", info.width}, {"height", info.height}, {"bits", info.bits},
            {"bands", info.bands}, {"pages", info.pages},   {"format", info.format}};
  }
  if (a.at(0) == "read") {
    const auto picture = read_picture(a.at(1), a.size() > 3 ? DecodeLimits{std::stod(a[3])} : DecodeLimits{});
    dump(a.at(2), {picture.pixels, picture.alpha});
    return described(picture);
  }
  if (a.at(0) == "write") {
    const auto picture = read_picture(a.at(1));
    const Json wanted = Json::parse(a.size() > 3 ? a[3] : "{}");
    EncodeOptions options;
    fields_from_json(options, wanted.value("options", Json::object()));
    options.text = wanted.value("text", std::map<std::string, std::string>{});
    return {{"notes", write_picture(a.at(2), picture, options)}};
  }
  if (a.at(0) == "resize") {
    dump(a.at(2),
         {resize(load(a.at(1), {1, std::stol(a.at(3)), std::stol(a.at(4))}), std::stol(a.at(5)), std::stol(a.at(6)), kernel_named(a.at(7)))});
    return {};
  }
  if (a.at(0) == "color-fix") {
    const std::vector<int64_t> shape{1, 3, std::stol(a.at(5)), std::stol(a.at(6))};
    dump(a.at(4), {fix_color(a.at(1), load(a.at(2), shape), load(a.at(3), shape))});
    return {};
  }
  throw UserError("unknown command " + a.at(0));
}

}  // namespace

int main(int count, char** arguments) {
  const auto answered = [](const std::vector<std::string>& words) -> Json {
    try {
      return {{"code", 0}, {"answer", run(words)}};
    } catch (const UserError& error) {
      return {{"code", 2}, {"error", error.what()}};
    } catch (const std::exception& error) {
      return {{"code", 70}, {"error", error.what()}};
    }
  };
  const auto text = [](const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); };
  if (count > 1 && std::string(arguments[1]) == "serve") {
    for (std::string line; std::getline(std::cin, line);) std::cout << text(answered(Json::parse(line))) << std::endl;
    return 0;
  }
  const Json answer = answered({arguments + 1, arguments + count});
  std::cout << text(answer) << "\n";
  return answer["code"];
}
