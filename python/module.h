// The native half of the Python module `resflow`: what is Python about the library. The other half, python/resflow/*.py, turns what people hold
// (paths, PIL images, arrays) into this one's tensors. Tensors pass both ways without a copy; the GIL is released while anything is computed.
#pragma once

#include <pybind11/pybind11.h>

namespace resflow::python {

// UserError -> resflow.Error with its parts; bugs -> RuntimeError; memory -> MemoryError.
void add_errors(pybind11::module_& module);
// Transformer, Autoencoder, TextEncoder.
void add_models(pybind11::module_& module);
// Picture, Restored, and what restores one.
void add_restore(pybind11::module_& module);

}  // namespace resflow::python
