// restore(): one picture at a time through a model that is kept between calls.
#include <ATen/ATen.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "module.h"
#include "resflow/image/codec.h"
#include "resflow/restore/batch.h"
#include "resflow/restore/restorer.h"
#include "resflow/search/options.h"

namespace resflow::python {
namespace {

struct Options {
  restore::ModelOptions model;
  restore::RestoreOptions restore;
  search::SearchOptions search;
};

// A JSON object of any of the three structs' fields. Throws UserError.
Options options_from(const std::string& text) {
  const Json all = Json::parse(text);
  Options out;
  const auto take = [&](auto& part) {
    Json own = Json::object();
    for (const auto& name : field_names(part))
      if (all.contains(name)) own[name] = all[name];
    fields_from_json(part, own, "restore");
  };
  take(out.model);
  take(out.restore);
  take(out.search);
  restore::check_options(out.restore);
  search::check_search(out.search);
  return out;
}

template <class T>
const char* type_name() {
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_integral_v<T>) return "int";
  if constexpr (std::is_floating_point_v<T>) return "float";
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return "Sequence[str]";
  if constexpr (std::is_same_v<T, std::vector<double>>) return "Sequence[float]";
  return "str";
}

// Every option of restore(), in order: [{"name", "help", "type", "default", "choices"}, ...]
std::string option_list() {
  Json out = Json::array();
  const auto add = [&](const auto& options) {
    std::decay_t<decltype(options)>::fields(options, [&](const std::string& name, const auto& value, const std::string& help, const auto&... rest) {
      Json entry = {{"name", name}, {"help", help}, {"type", type_name<std::remove_cvref_t<decltype(value)>>()}, {"default", value}};
      [[maybe_unused]] const auto choices = [&](const auto& constraint) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(constraint)>, OneOf>) entry["choices"] = constraint.names;
      };
      (choices(rest), ...);
      out.push_back(entry);
    });
  };
  const Options options;
  add(options.restore);
  add(options.search);
  add(options.model);
  return out.dump();
}

// Python's own signals while this thread works without the GIL: only the main thread is told of any.
class Interrupts {
 public:
  std::stop_token token() const { return stop_.get_token(); }
  // Throws Cancelled where there was one. The stop token alone would not do: a search that is stopped goes on to a result.
  void look() {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() == 0) return;
    raised_ = std::make_unique<py::error_already_set>();  // KeyboardInterrupt, or what a handler raised
    stop_.request_stop();
    throw Cancelled();
  }
  // With the GIL.
  void raise_if_any() const {
    if (raised_) throw py::error_already_set(*raised_);
  }

 private:
  std::stop_source stop_;
  std::unique_ptr<py::error_already_set> raised_;
};

// A loaded model serves one call at a time.
struct Shared {
  explicit Shared(const restore::ModelOptions& options) : restorer(options) {}
  const restore::Restorer restorer;
  std::timed_mutex busy;
};

// The model that was used last, kept until another is asked for or its file is a newer one.
std::shared_ptr<Shared> shared(const restore::ModelOptions& options) {
  static auto& mutex = *new std::mutex;  // never destroyed: threads may run on while the program ends
  static auto& last = *new std::pair<std::string, std::shared_ptr<Shared>>;
  std::string key = fields_to_json(options).dump(-1, ' ', false, Json::error_handler_t::replace);
  for (const auto& path : restore::model_files(options))
    key += " " + path.string() + " " + std::to_string(std::filesystem::last_write_time(path).time_since_epoch().count());
  const std::lock_guard lock(mutex);
  if (last.first != key) last = {key, std::make_shared<Shared>(options)};
  return last.second;
}

restore::Restored run(const image::Picture& source, const Options& options, Interrupts& interrupts) {
  const auto model = shared(options.model);
  std::unique_lock turn(model->busy, std::defer_lock);
  while (!turn.try_lock_for(std::chrono::milliseconds(100))) interrupts.look();
  const Job job{.on_progress = [&](const Progress&) { interrupts.look(); }, .stop = interrupts.token()};
  auto out = model->restorer.restore(source, options.restore, options.search, job);
  // Made in inference mode, whose tensors autograd refuses for ever.
  out.picture.pixels = out.picture.pixels.clone();
  if (out.picture.alpha.defined()) out.picture.alpha = out.picture.alpha.clone();
  return out;
}

restore::Restored restore_picture(const image::Picture& source, const std::string& options) {
  Interrupts interrupts;
  std::optional<restore::Restored> out;
  {
    const py::gil_scoped_release released;
    try {
      out = run(source, options_from(options), interrupts);
    } catch (const Cancelled&) {
      if (!interrupts.token().stop_requested()) throw;
    }
  }
  interrupts.raise_if_any();
  return std::move(*out);
}

// [3, H, W] and alpha [1, H, W], 0..1. float32 on the CPU is taken as it is, without a copy.
image::Picture make_picture(const Tensor& pixels, const std::optional<Tensor>& alpha, int bits, bool grey) {
  const auto plane = [](const Tensor& tensor) { return tensor.detach().to(at::kCPU, at::kFloat).contiguous(); };
  check_shape(pixels, "3 H W", "pixels");
  image::Picture out{.pixels = plane(pixels), .bits = bits, .grey = grey};
  if (alpha) out.alpha = plane(*alpha);
  return out;
}

std::string report_of(const restore::Restored& made) { return made.manifest.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Where the result of a file goes, as on the command line: `output` itself, or with the same stem into a folder. input "": of no file.
std::string plan_output(const std::string& input, const std::string& output) {
  if (!input.empty()) return restore::plan_batch({input}, output, "auto").at(0).output.string();
  if (!image::can_write(image::format_of_extension(output)))
    throw_user_error({.where = output, .problem = "cannot tell the format to write", .wanted = "an extension .png .jpg .webp .tif .avif"});
  return output;
}

}  // namespace

void add_restore(py::module_& module) {
  using Released = py::call_guard<py::gil_scoped_release>;
  py::class_<image::Picture>(module, "Picture", "Pixels, 0..1, sRGB, with what came along in the file.")
      .def(py::init(&make_picture), py::arg("pixels"), py::arg("alpha"), py::arg("bits"), py::arg("grey"), Released())
      .def_readonly("pixels", &image::Picture::pixels)
      .def_property_readonly("alpha", [](const image::Picture& p) { return p.alpha.defined() ? std::optional(p.alpha) : std::nullopt; })
      .def_readonly("bits", &image::Picture::bits)
      .def_readonly("grey", &image::Picture::grey)
      .def_readonly("notes", &image::Picture::notes);
  py::class_<restore::Restored>(module, "Restored")
      .def_readonly("picture", &restore::Restored::picture)
      .def_readonly("notes", &restore::Restored::notes)
      .def_property_readonly("report", &report_of);
  module.def("restore_options", &option_list);
  module.def(
      "check_options", [](const std::string& options) { options_from(options); }, py::arg("options"));
  module.def("plan_output", &plan_output, py::arg("input"), py::arg("output"));
  module.def(
      "read_picture", [](const std::string& path) { return image::read_picture(path); }, py::arg("path"), Released());
  module.def("restore", &restore_picture, py::arg("source"), py::arg("options"));
  module.def(
      "write_restored", [](const std::string& path, const restore::Restored& made) { return restore::write_restored(path, made, {}); },
      py::arg("path"), py::arg("restored"), Released());
}

}  // namespace resflow::python
