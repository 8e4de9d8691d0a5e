#include "module.h"

#include <c10/util/Exception.h>

#include <filesystem>
#include <string>

#include "resflow/core/complaint.h"

namespace resflow::python {
namespace {

namespace py = pybind11;

// Names of files need not be UTF-8.
py::object text_of(const std::string& text) {
  if (text.empty()) return py::none();
  return py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

void raise(const std::string& text, const Complaint& parts) {
  using namespace py::literals;
  const py::object type = py::module_::import("resflow._error").attr("Error");
  const py::object error = type(text_of(text), "where"_a = text_of(parts.where), "what"_a = text_of(parts.problem),
                                "wanted"_a = text_of(parts.wanted), "got"_a = text_of(parts.got), "hint"_a = text_of(parts.hint));
  PyErr_SetObject(type.ptr(), error.ptr());
}

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const ComplaintError& error) {
    raise(error.what(), error.complaint);
  } catch (const UserError& error) {
    raise(error.what(), {.problem = error.what()});
  } catch (const std::filesystem::filesystem_error& error) {  // the machine's state, not ours
    const Complaint parts{.where = error.path1().string(), .problem = error.code().message()};
    raise("[" + parts.where + "] " + parts.problem, parts);
  } catch (const Cancelled&) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
  } catch (const c10::Error& error) {
    const std::string text = readable_message(error);
    PyErr_SetString(text.starts_with("out of memory") ? PyExc_MemoryError : PyExc_RuntimeError, text.c_str());
  }
}

}  // namespace

// Of this module alone: torch has its own for the same exceptions.
void add_errors(py::module_& module) { py::register_local_exception_translator(translate); }

}  // namespace resflow::python

PYBIND11_MODULE(_resflow, module) {
  resflow::python::add_errors(module);
  resflow::python::add_models(module);
  resflow::python::add_restore(module);
}
