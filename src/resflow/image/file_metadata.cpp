#include "resflow/image/file_metadata.h"

#include <vips/vips.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <regex>

#include "resflow/image/icc.h"
#include "resflow/image/png_text.h"
#include "resflow/image/vips_session.h"

namespace resflow::image {
namespace {

constexpr const char* user_comment = "exif-ifd2-UserComment";
constexpr size_t max_jpeg_xmp = 65502;  // one APP1 segment less its name
// How our texts begin in XMP: attributes of one element of their own.
constexpr std::string_view xmp_texts_begin = R"(<rdf:Description rdf:about="" xmlns:resflow="urn:resflow:1")", xmp_texts_end = "/>";

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

std::string plain_xml(std::string text) {
  for (const auto& [escape, plain] : {std::pair{"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&#10;", "\n"}, {"&#9;", "\t"}, {"&amp;", "&"}})
    for (size_t at = 0; (at = text.find(escape, at)) != std::string::npos; at += 1) text.replace(at, std::strlen(escape), plain);
  return text;
}

// Takes our texts out of the XMP and gives them back.
std::map<std::string, std::string> take_xmp_texts(std::string& xmp) {
  std::map<std::string, std::string> out;
  for (size_t begin = 0; (begin = xmp.find(xmp_texts_begin, begin)) != std::string::npos;) {
    const size_t end = xmp.find(xmp_texts_end, begin);  // no ">" within: it is escaped
    if (end == std::string::npos) break;
    const std::string element = xmp.substr(begin + xmp_texts_begin.size(), end - begin - xmp_texts_begin.size());
    xmp.erase(begin, end + xmp_texts_end.size() - begin);
    static const std::regex attribute(R"re( resflow:([A-Za-z0-9_]+)=")re");
    for (std::sregex_iterator it(element.begin(), element.end(), attribute), none; it != none; ++it) {
      const auto value = static_cast<size_t>(it->position() + it->length());
      out[(*it)[1]] = plain_xml(element.substr(value, element.find('"', value) - value));
    }
  }
  return out;
}

// A JPEG of one pixel around an EXIF block, "" where it does not fit: libvips' way to the tags in a block.
std::string jpeg_of_exif(const std::string& exif) {
  VipsImage* black = nullptr;
  void* data = nullptr;
  size_t size = 0;
  if (exif.size() + 2 > 0xffff || vips_black(&black, 1, 1, nullptr) != 0) return "";
  const VipsPointer pixel(black);
  if (vips_jpegsave_buffer(pixel.get(), &data, &size, "strip", TRUE, nullptr) != 0) return take_vips_error(), "";
  std::string jpeg(static_cast<const char*>(data), size);
  g_free(data);
  const size_t length = exif.size() + 2;
  return jpeg.insert(2, std::string("\xff\xe1", 2) + static_cast<char>(length >> 8) + static_cast<char>(length & 0xff) + exif);
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

// The decoded EXIF tags and the texts.
void take_fields(VipsImage* image, Metadata& metadata) {
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
}

void settle_exif(Metadata& metadata) {
  metadata.exif_fields.erase("exif-ifd0-Orientation");
  // Cameras fill UserComment too; generation parameters are known by their "Steps:".
  if (const auto comment = metadata.exif_fields.find(user_comment); comment != metadata.exif_fields.end())
    if (comment->second.find("Steps: ") != std::string::npos) metadata.text.emplace("parameters", exif_text(comment->second));
}

}  // namespace

std::map<std::string, std::string> png_texts_beyond_ascii(const Metadata& metadata, const std::map<std::string, std::string>& texts) {
  auto all = all_texts(metadata, texts);
  std::erase_if(all, [](const auto& item) { return !is_text_key(item.first) || is_ascii(item.second); });
  return all;
}

std::string xmp_with_texts(std::string xmp, const std::map<std::string, std::string>& texts) {
  if (texts.empty()) return xmp;
  take_xmp_texts(xmp);  // of an earlier run
  std::string description(xmp_texts_begin);
  for (const auto& [key, text] : texts)
    if (std::all_of(key.begin(), key.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; }))
      description += " resflow:" + key + "=\"" + escaped_xml(text) + "\"";
  description += xmp_texts_end;
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

  std::string xmp = metadata.xmp;
  metadata.text = take_xmp_texts(xmp);
  take_fields(image, metadata);
  vips_error_clear();
  settle_exif(metadata);
  return metadata;
}

void take_exif(Metadata& metadata, std::string exif) {
  const std::string jpeg = jpeg_of_exif(exif);
  VipsImage* image = nullptr;
  if (!jpeg.empty() && vips_jpegload_buffer(const_cast<char*>(jpeg.data()), jpeg.size(), &image, nullptr) == 0) {
    const VipsPointer owned(image);
    take_fields(image, metadata);
    settle_exif(metadata);
  }
  vips_error_clear();
  metadata.exif = std::move(exif);
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
    const bool exif = format != "tiff";  // libvips writes no EXIF there, and tiff_exif.h what the source had
    if (const auto parameters = all.find("parameters"); parameters != all.end()) {
      if (exif) vips_image_set_string(image, user_comment, parameters->second.c_str());
      // libvips writes UserComment in ASCII.
      if (exif && is_ascii(parameters->second))
        in_xmp.erase("parameters");
      else
        in_xmp.insert(*parameters);
    }
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
