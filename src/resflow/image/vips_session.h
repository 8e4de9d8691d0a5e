// The thin layer between this folder and libvips: start, owned objects, errors as text. Internal to image/.
#pragma once

#include <memory>
#include <string>

struct _VipsImage;
struct _VipsObject;

namespace resflow::image {

// Starts libvips once: no operation cache, as many threads as the tensor library has.
void start_vips();

// libvips' error text so far, on one line; clears it.
std::string take_vips_error();

// Warnings that decoders of this thread gave since the last call, on one line ("" = none).
std::string take_vips_warnings();

struct Unref {
  void operator()(void* object) const;
};
using VipsPointer = std::unique_ptr<_VipsImage, Unref>;

}  // namespace resflow::image
