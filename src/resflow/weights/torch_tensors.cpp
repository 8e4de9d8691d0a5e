#include "resflow/weights/torch_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "resflow/core/error.h"
#include "resflow/core/json.h"

namespace resflow::weights {
namespace {

using Kind = PickleValue::Kind;

constexpr std::array<std::pair<std::string_view, c10::ScalarType>, 10> kStorages = {{{"torch.FloatStorage", c10::kFloat},
                                                                                     {"torch.HalfStorage", c10::kHalf},
                                                                                     {"torch.BFloat16Storage", c10::kBFloat16},
                                                                                     {"torch.DoubleStorage", c10::kDouble},
                                                                                     {"torch.LongStorage", c10::kLong},
                                                                                     {"torch.IntStorage", c10::kInt},
                                                                                     {"torch.ShortStorage", c10::kShort},
                                                                                     {"torch.CharStorage", c10::kChar},
                                                                                     {"torch.ByteStorage", c10::kByte},
                                                                                     {"torch.BoolStorage", c10::kBool}}};
constexpr std::string_view kTensor = "torch._utils._rebuild_tensor_v2", kOldTensor = "torch._utils._rebuild_tensor",
                           kParameter = "torch._utils._rebuild_parameter", kSize = "torch.Size";
// Where training programs keep the state dict; the average of the weights comes before the weights of the last step.
constexpr std::array<std::string_view, 4> kUsualKeys = {"params_ema", "params", "state_dict", "model"};
constexpr size_t kMostDimensions = 64;         // libtorch's own limit in many operations
constexpr int64_t kLargestExpanded = 1 << 24;  // elements of a tensor that repeats its storage's
constexpr size_t kDeepestModule = 64;
constexpr size_t kMostTensors = 1'000'000, kMostObjects = 1'000'000;
constexpr size_t kNamesShown = 8;

bool is_tensor(const PickleValue& value) { return value.is_call(kTensor) || value.is_call(kOldTensor) || value.is_call(kParameter); }

class Reader {
 public:
  Reader(const StoragePlaces& places, const std::string& file) : places_(places), file_(file) { table_.format = "torch"; }

  TensorTable read(const PickleValue& root) {
    if (root.kind == Kind::object) {
      add_object(root, "", 0);
    } else {
      add_dict(state_dict(root));
    }
    if (table_.entries.empty()) fail("no tensors in this file");
    return std::move(table_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                         const std::string& hint = "") const {
    throw_user_error({.where = "torch", .problem = file_ + ": " + problem, .wanted = wanted, .got = got, .hint = hint});
  }

  static bool holds_tensors(const PickleValue& dict) {
    for (size_t i = 1; dict.kind == Kind::dict && i < dict.items.size(); i += 2)
      if (is_tensor(*dict.items[i])) return true;
    return false;
  }

  const PickleValue& state_dict(const PickleValue& root) const {
    if (root.kind != Kind::dict) fail("not a state dict", "a dict of tensors by name", describe(root));
    for (const auto key : kUsualKeys)
      for (size_t i = 0; i + 1 < root.items.size(); i += 2)
        if (root.items[i]->kind == Kind::text && root.items[i]->text == key && holds_tensors(*root.items[i + 1])) return *root.items[i + 1];
    if (holds_tensors(root)) return root;
    std::vector<std::string> keys;
    for (size_t i = 0; i + 1 < root.items.size() && keys.size() < kNamesShown; i += 2) keys.push_back(describe(*root.items[i]));
    fail("no state dict in it", fmt::format("tensors by name, or a dict of them under {}", fmt::join(kUsualKeys, ", ")),
         fmt::format("a dict with the keys {}", fmt::join(keys, ", ")));
  }

  void add_dict(const PickleValue& dict) {
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
      if (is_tensor(*dict.items[i + 1])) {
        if (dict.items[i]->kind != Kind::text) fail("a tensor without a name", "a text", describe(*dict.items[i]));
        add_tensor(dict.items[i]->text, *dict.items[i + 1]);
      }
  }

  // A module of TorchScript: parameters, buffers and modules are its attributes. One that is met twice has two names.
  void add_object(const PickleValue& object, const std::string& prefix, size_t depth) {
    if (depth > kDeepestModule || ++objects_ > kMostObjects) fail("modules are nested too deeply, or one is part of itself");
    for (size_t i = 0; i + 1 < object.items.size(); i += 2) {
      const auto& value = *object.items[i + 1];
      if (value.kind != Kind::object && !is_tensor(value)) continue;
      if (object.items[i]->kind != Kind::text) fail("an attribute without a name", "a text", describe(*object.items[i]));
      const auto name = prefix + object.items[i]->text;
      if (value.kind == Kind::object) {
        add_object(value, name + ".", depth + 1);
      } else {
        add_tensor(name, value);
      }
    }
  }

  void add_tensor(const std::string& name, const PickleValue& value) {
    if (table_.entries.size() >= kMostTensors) fail(fmt::format("more than {} tensors", kMostTensors));
    try {
      Json(name).dump();
    } catch (const Json::exception&) {
      fail(fmt::format("the name '{}' is not UTF-8", printable(name)));
    }
    if (!names_.insert(name).second) fail(fmt::format("two tensors '{}'", name));
    table_.entries.push_back(entry_of(name, value));
  }

  TensorEntry entry_of(const std::string& name, const PickleValue& value) const {
    const auto bad = [&](const std::string& problem, const std::string& wanted, const std::string& got) {
      fail(fmt::format("tensor '{}': {}", printable(name), problem), wanted, got);
    };
    const PickleValue* call = &value;  // a call's arguments are older than itself, so this ends
    while (call->is_call(kParameter) && !call->items.empty()) call = call->items[0];
    // (storage, offset, sizes, strides[, requires_grad, hooks[, metadata]])
    if ((!call->is_call(kTensor) && !call->is_call(kOldTensor)) || call->items.size() < 4) bad("bad entry", "a plain tensor", describe(*call));
    const auto& arguments = call->items;
    if (arguments[0]->kind != Kind::persistent) bad("bad storage", "a storage", describe(*arguments[0]));
    const auto storage = read_storage_id(*arguments[0], file_);
    const auto place = places_.find(storage.key);
    if (place == places_.end()) bad("its storage is not in the file", fmt::format("storage '{}'", printable(storage.key)), "none");
    const auto element = static_cast<uint64_t>(c10::elementSize(storage.dtype));
    if (static_cast<uint64_t>(storage.count) * element != place->second.size)
      bad("its storage is of another size", fmt::format("{} bytes", static_cast<uint64_t>(storage.count) * element),
          std::to_string(place->second.size));

    TensorEntry entry{.name = name, .dtype = storage.dtype};
    entry.shape = counts(*arguments[2], [&](const std::string& got) { bad("bad shape", "sizes, each 0 or more", got); });
    entry.strides = counts(*arguments[3], [&](const std::string& got) { bad("bad strides", "strides, each 0 or more", got); });
    if (entry.shape.size() != entry.strides.size() || entry.shape.size() > kMostDimensions)
      bad("bad strides", fmt::format("one a dimension, at most {}", kMostDimensions),
          fmt::format("{} for {}", entry.strides.size(), entry.shape.size()));
    if (arguments[1]->kind != Kind::integer || arguments[1]->integer < 0) bad("bad offset", "a number, 0 or more", describe(*arguments[1]));

    int64_t first = 0, last = 0, elements = 1, widest = 1;
    bool fits = !__builtin_add_overflow(arguments[1]->integer, storage.offset, &first);
    last = first;
    for (size_t i = 0; i < entry.shape.size(); ++i) {
      const auto size = entry.shape[i];
      int64_t step = 0;
      elements *= size == 0 ? 0 : 1;
      fits = fits && !__builtin_mul_overflow(widest, std::max<int64_t>(size, 1), &widest);  // a size of 0 hides no overflow
      fits = fits && !__builtin_mul_overflow(std::max<int64_t>(size - 1, 0), entry.strides[i], &step) && !__builtin_add_overflow(last, step, &last);
    }
    elements *= fits ? widest : 1;
    if (!fits || (elements > 0 && last >= storage.count))
      bad("it reaches outside its storage", fmt::format("{} elements", storage.count), fmt::format("[{}]", fmt::join(entry.shape, ", ")));
    if (elements > std::max(storage.count, kLargestExpanded) || widest > INT64_MAX / 8)
      bad("its shape is too large", fmt::format("{} elements", storage.count), fmt::format("[{}]", fmt::join(entry.shape, ", ")));
    entry.begin = place->second.begin + (elements == 0 ? 0 : static_cast<uint64_t>(first) * element);
    if (is_contiguous(entry)) entry.strides.clear();
    return entry;
  }

  template <class Complain>
  static std::vector<int64_t> counts(const PickleValue& value, const Complain& complain) {
    const PickleValue* list = value.is_call(kSize) && value.items.size() == 1 ? value.items[0] : &value;
    if (list->kind != Kind::tuple && list->kind != Kind::list) complain(describe(value));
    std::vector<int64_t> out;
    for (const auto* item : list->items) {
      if (item->kind != Kind::integer || item->integer < 0) complain(describe(*item));
      out.push_back(item->integer);
    }
    return out;
  }

  static bool is_contiguous(const TensorEntry& entry) {
    int64_t expected = 1;
    for (size_t i = entry.shape.size(); i-- > 0;) {
      if (entry.shape[i] == 0) return true;
      if (entry.shape[i] != 1 && entry.strides[i] != expected) return false;
      expected *= entry.shape[i];
    }
    return true;
  }

  const StoragePlaces& places_;
  const std::string& file_;
  TensorTable table_;
  std::set<std::string, std::less<>> names_;
  size_t objects_ = 0;
};

}  // namespace

bool is_tensor_global(std::string_view name) {
  if (name == kTensor || name == kOldTensor || name == kParameter || name == kSize || name == "collections.OrderedDict") return true;
  return std::any_of(kStorages.begin(), kStorages.end(), [&](const auto& storage) { return storage.first == name; });
}

bool is_script_global(std::string_view name) {
  return is_tensor_global(name) || name.starts_with("__torch__.") || name.starts_with("torch.jit._pickle.");
}

StorageId read_storage_id(const PickleValue& value, const std::string& file) {
  const auto bad = [&](const std::string& wanted, const std::string& got) {
    throw_user_error({.where = "torch", .problem = file + ": bad storage", .wanted = wanted, .got = got});
  };
  const auto& id = *value.items.at(0);
  if (id.kind != Kind::tuple || id.items.size() < 5) bad("a tuple of 5 or 6", describe(id));
  const auto &what = *id.items[0], &type = *id.items[1], &key = *id.items[2], &count = *id.items[4];
  if (what.kind != Kind::text || what.text != "storage") bad("'storage'", describe(what));
  const auto* const known =
      std::find_if(kStorages.begin(), kStorages.end(), [&](const auto& s) { return type.kind == Kind::global && s.first == type.text; });
  if (known == kStorages.end()) bad("a type such as torch.FloatStorage", describe(type));
  if (key.kind != Kind::text) bad("a key", describe(key));
  if (count.kind != Kind::integer || count.integer < 0 || count.integer > INT64_MAX / 8) bad("a number of elements", describe(count));
  StorageId out{.key = key.text, .dtype = known->second, .count = count.integer};
  if (id.items.size() == 6 && id.items[5]->kind != Kind::none) {  // (key of the view, offset, elements)
    const auto& view = *id.items[5];
    if (view.kind != Kind::tuple || view.items.size() != 3 || view.items[1]->kind != Kind::integer || view.items[1]->integer < 0)
      bad("a view (key, offset, elements)", describe(view));
    out.offset = view.items[1]->integer;
  }
  return out;
}

TensorTable read_tensors(const PickleValue& root, const StoragePlaces& places, const std::string& file) { return Reader(places, file).read(root); }

}  // namespace resflow::weights
