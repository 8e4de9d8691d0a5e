#include "resflow/image/data_uri.h"

#include <glib.h>

#include <memory>

#include "resflow/core/files.h"
#include "resflow/image/codec.h"

namespace resflow::image {

std::string data_uri(const std::filesystem::path& path) {
  const std::string bytes = read_text(path), format = format_of_extension(path);
  const std::unique_ptr<char, decltype(&g_free)> text(g_base64_encode(reinterpret_cast<const guchar*>(bytes.data()), bytes.size()), &g_free);
  return "data:image/" + (format == "jpg" ? std::string("jpeg") : format) + ";base64," + text.get();
}

}  // namespace resflow::image
