#include "resflow/image/file_metadata.h"

#include <vips/vips.h>

#include <algorithm>
#include <cctype>
#include <regex>

#include "resflow/image/icc.h"
#include "resflow/image/png_text.h"
#include "resflow/image/vips_session.h"

namespace resflow::image {
namespace {

constexpr const char* user_comment = "exif-ifd2-UserComment";
constexpr size_t max_jpeg_xmp = 65502;  // one APP1 segment less its name

std::string blob(VipsImage* image, const char* name) {
  const void* data = nullptr;
  size_t size = 0;
  if (vips_image_get_typeof(image, name) == 0) return "";
  if (vips_image_get_blob(image, name, &data, &size) != 0) return take_vips_error(), "";
  return {static_cast<const char*>(data), size};
}

void set_blob(VipsImage* image, const char* name, const std::string& bytes) {
  if (!bytes.empty()) vips_image_set_blob_copy(image, name, bytes.data(), bytes.size());
}

// "text (text, Undefined, 12 components, 12 bytes)" -> "text"
// The text itself may hold " (": the copy in the parentheses is as long as the one before them.
std::string exif_text(const std::string& value) {
  for (size_t at = value.find(" ("); at != std::string::npos; at = value.find(" (", at + 1))
    if (value.compare(at + 2, at, value, 0, at) == 0) return value.substr(0, at);
  return value;
}

std::string reset_xmp_orientation(const std::string& xmp) {
  static const std::regex pattern(R"((tiff:Orientation(?:\s*=\s*["']|>))[1-8])");
  return xmp.find("tiff:Orientation") == std::string::npos ? xmp : std::regex_replace(xmp, pattern, "$011");
}

std::string escaped_xml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\n':
        out += "&#10;";
        break;
      case '\t':
        out += "&#9;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) out += c;
    }
  }
  return out;
}

// PNG keywords: 1 to 79 printable characters; those of other chunks (XMP, ImageMagick's profiles) are not texts.
bool is_text_key(const std::string& key) {
  return !key.empty() && key.size() < 80 && !key.starts_with("XML:") && !key.starts_with("Raw profile type") &&
         std::all_of(key.begin(), key.end(), [](unsigned char c) { return std::isprint(c); });
}

void set_png_texts(VipsImage* image, const std::map<std::string, std::string>& texts) {
  int index = 0;
  for (const auto& [key, text] : texts)
    if (is_text_key(key) && is_ascii(text))
      vips_image_set_string(image, ("png-comment-" + std::to_string(index++) + "-" + key).c_str(), text.c_str());
}

std::map<std::string, std::string> all_texts(const Metadata& metadata, const std::map<std::string, std::string>& texts) {
  auto all = texts;
  all.insert(metadata.text.begin(), metadata.text.end());
  return all;
}

}  // namespace

std::map<std::string, std::string> png_texts_beyond_ascii(const Metadata& metadata, const std::map<std::string, std::string>& texts) {
  auto all = all_texts(metadata, texts);
  std::erase_if(all, [](const auto& item) { return !is_text_key(item.first) || is_ascii(item.second); });
  return all;
}

std::string xmp_with_texts(std::string xmp, const std::map<std::string, std::string>& texts) {
  if (texts.empty()) return xmp;
  std::string description = R"(<rdf:Description rdf:about="" xmlns:resflow="urn:resflow:1")";
  for (const auto& [key, text] : texts)
    if (std::all_of(key.begin(), key.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; }))
      description += " resflow:" + key + "=\"" + escaped_xml(text) + "\"";
  description += "/>";
  if (const size_t end = xmp.find("</rdf:RDF>"); end != std::string::npos) return xmp.insert(end, description);
  return R"(<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">)"
         R"(<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">)" +
         description + R"(</rdf:RDF></x:xmpmeta><?xpacket end="w"?>)";
}

Metadata read_metadata(VipsImage* image) {
  Metadata metadata{.exif = blob(image, VIPS_META_EXIF_NAME),
                    .xmp = reset_xmp_orientation(blob(image, VIPS_META_XMP_NAME)),
                    .iptc = blob(image, VIPS_META_IPTC_NAME),
                    .icc = blob(image, VIPS_META_ICC_NAME)};
  metadata.icc_name = profile_facts(metadata.icc).name;
  metadata.pages = std::max(1, vips_image_get_n_pages(image));
  // Loaders give 1 pixel per mm where the file says nothing.
  if (vips_image_get_xres(image) != 1.0) metadata.pixels_per_mm = vips_image_get_xres(image);

  gchar** names = vips_image_get_fields(image);
  for (gchar** name = names; name != nullptr && *name != nullptr; ++name) {
    const std::string field = *name;
    const bool exif = field.starts_with("exif-ifd") && !field.starts_with("exif-ifd1-");  // ifd1 describes the thumbnail, which goes
    if (!exif && !field.starts_with("png-comment-")) continue;
    const char* value = nullptr;
    if (vips_image_get_string(image, *name, &value) != 0) continue;
    if (exif) {
      metadata.exif_fields[field] = value;
    } else if (const size_t dash = field.find('-', 12); dash != std::string::npos && is_text_key(field.substr(dash + 1))) {
      metadata.text[field.substr(dash + 1)] = as_utf8(value);
    }
  }
  g_strfreev(names);
  vips_error_clear();
  metadata.exif_fields.erase("exif-ifd0-Orientation");
  // Cameras fill UserComment too; generation parameters are known by their "Steps:".
  if (const auto comment = metadata.exif_fields.find(user_comment); comment != metadata.exif_fields.end())
    if (comment->second.find("Steps: ") != std::string::npos) metadata.text.emplace("parameters", exif_text(comment->second));
  return metadata;
}

std::vector<std::string> attach_metadata(VipsImage* image, const Metadata& metadata, const std::map<std::string, std::string>& texts,
                                         const std::string& format) {
  std::vector<std::string> notes;
  set_blob(image, VIPS_META_EXIF_NAME, metadata.exif);
  set_blob(image, VIPS_META_IPTC_NAME, metadata.iptc);
  // Savers drop a tag of the EXIF block that the image does not have as a field.
  for (const auto& [name, value] : metadata.exif_fields) vips_image_set_string(image, name.c_str(), value.c_str());
  vips_image_set_int(image, VIPS_META_ORIENTATION, 1);

  const auto all = all_texts(metadata, texts);
  std::string xmp = metadata.xmp;
  if (format == "png") {
    set_png_texts(image, all);
  } else {
    auto in_xmp = texts;
    const bool exif = format != "tiff";  // libvips writes no EXIF there
    if (const auto parameters = all.find("parameters"); parameters != all.end()) {
      if (exif) vips_image_set_string(image, user_comment, parameters->second.c_str());
      // libvips writes UserComment in ASCII.
      if (exif && is_ascii(parameters->second))
        in_xmp.erase("parameters");
      else
        in_xmp.insert(*parameters);
    }
    if (!exif && !metadata.exif.empty()) notes.push_back("EXIF was left out: libvips writes none in TIFF");
    xmp = xmp_with_texts(std::move(xmp), in_xmp);
    if (format == "jpg" && xmp.size() > max_jpeg_xmp) {
      notes.push_back("texts were left out: JPEG holds 64 KB of them");
      xmp = metadata.xmp.size() > max_jpeg_xmp ? "" : metadata.xmp;
    }
  }
  set_blob(image, VIPS_META_XMP_NAME, xmp);
  return notes;
}

}  // namespace resflow::image
