#include "resflow/weights/torch_checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "resflow/core/error.h"
#include "resflow/weights/pickle.h"
#include "resflow/weights/torch_tensors.h"
#include "resflow/weights/zip.h"

namespace resflow::weights {
namespace {

using Kind = PickleValue::Kind;

// The end of a pickle of the number 0x1950a86a20f9469cfc6c; before it stand the protocol, and from protocol 4 on a frame's length.
constexpr std::string_view kLegacyMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 13);
constexpr size_t kLongestPreamble = 11;
constexpr int64_t kLegacyVersion = 1001;
constexpr const char* kIncomplete = "Perhaps an incomplete download?";

// Where the first pickle ends, or 0 where the file is not of the old format.
uint64_t end_of_magic(std::string_view bytes) {
  if (!bytes.starts_with('\x80')) return 0;
  const auto at = bytes.substr(0, kLongestPreamble + kLegacyMagic.size()).find(kLegacyMagic);
  return at == std::string_view::npos ? 0 : at + kLegacyMagic.size();
}

[[noreturn]] void fail(const std::string& file, const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                       const std::string& hint = "") {
  throw_user_error({.where = "torch", .problem = file + ": " + problem, .wanted = wanted, .got = got, .hint = hint});
}

TensorTable read_archive(const std::string& file, std::string_view bytes) {
  const auto entries = read_zip(bytes, file);
  std::string root;  // "archive/", whatever the file was called when it was saved
  bool found = false;
  for (const auto& [name, entry] : entries) {
    const auto slash = name.find('/');
    if (slash == std::string::npos || name.substr(slash) != "/data.pkl") continue;
    if (found) fail(file, "two data.pkl in this zip archive");
    root = name.substr(0, slash + 1);
    found = true;
  }
  if (!found) fail(file, "a zip archive, but not one that torch.save writes: no data.pkl in it", "", "", "Does it hold the file? Then unpack it");

  // TorchScript compresses its code, which is passed over; what is read is never compressed.
  const auto content = [&](const std::string& name, const ZipEntry& entry) {
    if (!entry.stored)
      fail(file, fmt::format("entry '{}' of this zip archive is compressed or encrypted", printable(name)), "", "",
           "torch.save stores entries as they are: was the file packed again?");
    return bytes.substr(entry.begin, entry.size);
  };
  if (const auto order = entries.find(root + "byteorder"); order != entries.end())
    if (const auto text = content(order->first, order->second); text != "little")
      fail(file, "saved on a machine of another byte order", "little", printable(text));
  const bool script = entries.contains(root + "constants.pkl");
  const Pickle pickle(content(root + "data.pkl", entries.at(root + "data.pkl")), file, script ? is_script_global : is_tensor_global);
  StoragePlaces places;
  const auto under = root + "data/";
  for (auto it = entries.lower_bound(under); it != entries.end() && it->first.starts_with(under); ++it) {
    content(it->first, it->second);
    places[it->first.substr(under.size())] = {it->second.begin, it->second.size};
  }
  return read_tensors(pickle.root(), places, file);
}

const PickleValue* value_of(const PickleValue& dict, std::string_view key) {
  for (size_t i = 0; dict.kind == Kind::dict && i + 1 < dict.items.size(); i += 2)
    if (dict.items[i]->kind == Kind::text && dict.items[i]->text == key) return dict.items[i + 1];
  return nullptr;
}

// Magic, version, facts of the machine, the object, the storages' keys: a pickle each. Then for each key the number of elements (int64)
// and the elements.
TensorTable read_legacy(const std::string& file, std::string_view bytes) {
  uint64_t at = end_of_magic(bytes);
  const auto next = [&] {
    Pickle pickle(bytes.substr(at), file, is_tensor_global);
    at += pickle.size();
    return pickle;
  };
  if (const auto version = next(); version.root().kind != Kind::integer || version.root().integer != kLegacyVersion)
    fail(file, "unknown version of the old PyTorch format", std::to_string(kLegacyVersion), describe(version.root()));
  {
    const auto machine = next();
    const auto* const little = value_of(machine.root(), "little_endian");
    if (little == nullptr || little->kind != Kind::boolean || little->integer == 0)
      fail(file, "saved on a machine of another byte order", "little_endian True", little == nullptr ? "nothing" : describe(*little));
  }
  const auto object = next(), keys = next();
  if (keys.root().kind != Kind::list) fail(file, "bad list of storages", "a list", describe(keys.root()));

  std::map<std::string, StorageId> ids;
  for (const auto& value : object.values())
    if (value.kind == Kind::persistent) {
      auto id = read_storage_id(value, file);
      ids.emplace(id.key, std::move(id));
    }
  StoragePlaces places;
  for (const auto* key : keys.root().items) {
    const auto id = key->kind == Kind::text ? ids.find(key->text) : ids.end();
    if (id == ids.end()) fail(file, "a storage that no tensor has", "", describe(*key));
    if (bytes.size() - at < 8) fail(file, fmt::format("storage {} is cut short", describe(*key)), "", "", kIncomplete);
    int64_t count = 0;
    for (int i = 0; i < 8; ++i) count |= static_cast<int64_t>(static_cast<uint64_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i));
    at += 8;
    if (count != id->second.count)
      fail(file, fmt::format("storage {} is of another size than its tensors say", describe(*key)), std::to_string(id->second.count),
           std::to_string(count));
    const auto size = static_cast<uint64_t>(count) * c10::elementSize(id->second.dtype);
    if (size > bytes.size() - at)
      fail(file, fmt::format("storage {} is cut short", describe(*key)), fmt::format("{} bytes", size), std::to_string(bytes.size() - at),
           kIncomplete);
    places[key->text] = {at, size};
    at += size;
  }
  return read_tensors(object.root(), places, file);
}

}  // namespace

bool is_torch_checkpoint(std::string_view bytes) { return bytes.starts_with("PK\3\4") || end_of_magic(bytes) > 0; }

TensorTable read_torch_checkpoint(const std::filesystem::path& path, std::string_view bytes) {
  return end_of_magic(bytes) > 0 ? read_legacy(path.string(), bytes) : read_archive(path.string(), bytes);
}

}  // namespace resflow::weights
