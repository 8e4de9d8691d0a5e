#include "resflow/weights/pickle.h"

#include <fmt/format.h>

#include <cstring>
#include <unordered_map>

#include "resflow/core/error.h"

namespace resflow::weights {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMostValues = 5'000'000;    // a checkpoint makes about 20 a tensor
constexpr size_t kMostOpcodes = 50'000'000;  // bounds what may pile up on the stack
constexpr size_t kMostItems = 50'000'000;    // in all containers together: a memo lets few bytes repeat a long list
constexpr const char* kOrderedDict = "collections.OrderedDict";

}  // namespace

// The stack machine. A mark is a null pointer on the stack.
class PickleMachine {
 public:
  PickleMachine(Pickle& out, std::string_view bytes, const std::string& file, const std::function<bool(std::string_view)>& allowed)
      : out_(out), bytes_(bytes), file_(file), allowed_(allowed) {}

  void run() {
    for (size_t count = 0; count < kMostOpcodes; ++count) {
      opcode_at_ = at_;
      const auto opcode = byte();
      if (opcode == '.') {
        out_.root_ = pop();
        if (!stack_.empty()) fail("more than one value at its end");
        out_.size_ = at_;
        return;
      }
      step(opcode);
    }
    fail(fmt::format("more than {} opcodes", kMostOpcodes));
  }

 private:
  [[noreturn]] void fail(const std::string& problem, const std::string& wanted = "", const std::string& got = "",
                         const std::string& hint = "") const {
    throw_user_error({.where = "torch",
                      .problem = fmt::format("{}: the pickle at its byte {}: {}", file_, opcode_at_, problem),
                      .wanted = wanted,
                      .got = got,
                      .hint = hint});
  }

  // ---- bytes
  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - at_) fail("cut short", "", "", "Perhaps an incomplete download?");
    const auto taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }
  unsigned char byte() { return static_cast<unsigned char>(take(1)[0]); }
  uint64_t little_endian(int width) {
    uint64_t value = 0;
    for (int i = 0; i < width; ++i) value |= static_cast<uint64_t>(byte()) << (8 * i);
    return value;
  }
  std::string line() {
    const auto end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) fail("cut short", "", "", "Perhaps an incomplete download?");
    const auto text = take(end - at_);
    take(1);
    return std::string(text);
  }

  // ---- values and stack
  PickleValue* make(Kind kind) {
    if (out_.values_.size() >= kMostValues) fail(fmt::format("more than {} values", kMostValues));
    out_.values_.emplace_back().kind = kind;
    return &out_.values_.back();
  }
  void push(PickleValue* value) { stack_.push_back(value); }
  PickleValue* pop() {
    if (stack_.empty() || stack_.back() == nullptr) fail("takes from an empty stack");
    auto* const value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue* top() {
    if (stack_.empty() || stack_.back() == nullptr) fail("takes from an empty stack");
    return stack_.back();
  }
  PickleValue* pop(Kind kind, const std::string& wanted) {
    auto* const value = pop();
    if (value->kind != kind) fail("a value out of place", wanted, describe(*value));
    return value;
  }
  // The values above the last mark, which goes too.
  std::vector<const PickleValue*> pop_to_mark() {
    size_t from = stack_.size();
    while (from > 0 && stack_[from - 1] != nullptr) --from;
    if (from == 0) fail("takes to a mark that is not there");
    std::vector<const PickleValue*> items(stack_.begin() + static_cast<std::ptrdiff_t>(from), stack_.end());
    stack_.resize(from - 1);
    return items;
  }

  void add_items(PickleValue& to, const std::vector<const PickleValue*>& items) {
    if ((items_ += items.size()) > kMostItems) fail(fmt::format("more than {} items", kMostItems));
    to.items.insert(to.items.end(), items.begin(), items.end());
  }

  void push_integer(int64_t integer) {
    auto* const value = make(Kind::integer);
    value->integer = integer;
    push(value);
  }
  void push_long(uint64_t width) {
    if (width > 8) fail("an integer of more than 64 bits");
    const auto bits = little_endian(static_cast<int>(width));
    const auto shift = 64 - 8 * width;  // two's complement of `width` bytes
    push_integer(width == 0 ? 0 : static_cast<int64_t>(bits << shift) >> shift);
  }
  void push_real() {
    uint64_t bits = 0;
    for (int i = 0; i < 8; ++i) bits = bits << 8 | byte();
    auto* const value = make(Kind::real);
    std::memcpy(&value->real, &bits, 8);
    push(value);
  }
  void push_text(uint64_t length) {
    auto* const value = make(Kind::text);
    value->text = take(length);
    push(value);
  }
  void push_boolean(bool truth) {
    auto* const value = make(Kind::boolean);
    value->integer = truth ? 1 : 0;
    push(value);
  }
  void push_items(Kind kind, const std::vector<const PickleValue*>& items) {
    if (kind == Kind::dict && items.size() % 2 != 0) fail("a dict's key without a value");
    auto* const value = make(kind);
    add_items(*value, items);
    push(value);
  }
  void push_last(size_t count) {
    std::vector<const PickleValue*> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_items(Kind::tuple, items);
  }
  void push_global(const std::string& module, const std::string& name) {
    const auto full = module + "." + name;
    if (!allowed_(full))
      fail("it would import something that is not plain weights", "tensors, plain values and dicts of them", printable(full),
           "Only weights are read, and nothing is executed; in Python, torch.save(model.state_dict(), ...) writes such a file");
    auto* const value = make(Kind::global);
    value->text = full;
    push(value);
  }

  // ---- what builds on what is there
  void append(PickleValue& list, const std::vector<const PickleValue*>& items) {
    if (list.kind != Kind::list) fail("a value out of place", "a list", describe(list));
    add_items(list, items);
  }
  void set_items(PickleValue& dict, const std::vector<const PickleValue*>& items) {
    if (dict.kind != Kind::dict) fail("a value out of place", "a dict", describe(dict));
    if (items.size() % 2 != 0) fail("a dict's key without a value");
    add_items(dict, items);
  }
  void call() {
    auto* const arguments = pop(Kind::tuple, "a tuple of arguments");
    auto* const global = pop(Kind::global, "something to call");
    if (global->text != kOrderedDict) {
      push_items(Kind::call, arguments->items);
      top()->text = global->text;
      return;
    }
    // OrderedDict(), or from Python 2 OrderedDict([[key, value], ...]).
    push_items(Kind::dict, {});
    if (arguments->items.empty()) return;
    if (arguments->items.size() != 1 || arguments->items[0]->kind != Kind::list) fail("bad OrderedDict", "a list of pairs");
    for (const auto* pair : arguments->items[0]->items) {
      if ((pair->kind != Kind::list && pair->kind != Kind::tuple) || pair->items.size() != 2) fail("bad OrderedDict", "a pair", describe(*pair));
      set_items(*top(), pair->items);
    }
  }
  void construct() {
    auto* const arguments = pop(Kind::tuple, "a tuple of arguments");
    auto* const global = pop(Kind::global, "a class");
    if (!arguments->items.empty()) fail("an object built from arguments", "an empty tuple", describe(*arguments));
    push_items(global->text == kOrderedDict ? Kind::dict : Kind::object, {});
    if (global->text != kOrderedDict) top()->text = global->text;
  }
  // A state: attributes of an object. An OrderedDict may carry some too (`_metadata`: versions of layers), which do not matter.
  void set_state() {
    const auto* const state = pop();
    auto& target = *top();
    if (target.kind == Kind::dict) return;
    if (target.kind != Kind::object) fail("a state out of place", "an object", describe(target));
    if (state->kind != Kind::dict) fail("an object's state of another kind", "a dict", describe(*state));
    add_items(target, std::vector(state->items));  // a copy: a state may be its own target's
  }
  void put(uint64_t index) { memo_[index] = top(); }
  void get(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) fail(fmt::format("refers to value {}, which is not there", index));
    push(found->second);
  }

  void step(unsigned char opcode) {
    switch (opcode) {
      case 0x80:  // PROTO
        if (const int protocol = byte(); protocol < 2 || protocol > 5) fail("unknown protocol", "2 to 5", std::to_string(protocol));
        return;
      case 0x95:
        little_endian(8);
        return;  // FRAME
      case '(':
        stack_.push_back(nullptr);
        return;
      case '0':
        if (stack_.empty()) fail("takes from an empty stack");
        stack_.pop_back();
        return;
      case '1':
        pop_to_mark();
        return;
      case 'N':
        push(make(Kind::none));
        return;
      case 0x88:
        push_boolean(true);
        return;
      case 0x89:
        push_boolean(false);
        return;
      case 'J':
        push_integer(static_cast<int32_t>(little_endian(4)));
        return;
      case 'K':
        push_integer(static_cast<int64_t>(little_endian(1)));
        return;
      case 'M':
        push_integer(static_cast<int64_t>(little_endian(2)));
        return;
      case 0x8a:
        push_long(little_endian(1));
        return;
      case 0x8b:
        push_long(little_endian(4));
        return;
      case 'G':
        push_real();
        return;
      case 'X':
        push_text(little_endian(4));
        return;  // unicode
      case 0x8c:
        push_text(little_endian(1));
        return;  // short unicode
      case 0x8d:
        push_text(little_endian(8));
        return;  // unicode of 8-byte length
      case 'T':
        push_text(little_endian(4));
        return;  // Python 2's str
      case 'U':
        push_text(little_endian(1));
        return;  // the same, short
      case 'B':
        push_text(little_endian(4));
        return;  // bytes
      case 'C':
        push_text(little_endian(1));
        return;  // short bytes
      case ']':
        push_items(Kind::list, {});
        return;
      case 'l':
        push_items(Kind::list, pop_to_mark());
        return;
      case 'a': {
        const auto* const item = pop();
        append(*top(), {item});
        return;
      }
      case 'e': {
        const auto items = pop_to_mark();
        append(*top(), items);
        return;
      }
      case ')':
        push_items(Kind::tuple, {});
        return;
      case 't':
        push_items(Kind::tuple, pop_to_mark());
        return;
      case 0x85:
        push_last(1);
        return;
      case 0x86:
        push_last(2);
        return;
      case 0x87:
        push_last(3);
        return;
      case '}':
        push_items(Kind::dict, {});
        return;
      case 'd':
        push_items(Kind::dict, pop_to_mark());
        return;
      case 's': {
        const auto* const value = pop();
        const auto* const key = pop();
        set_items(*top(), {key, value});
        return;
      }
      case 'u': {
        const auto items = pop_to_mark();
        set_items(*top(), items);
        return;
      }
      case 'q':
        put(little_endian(1));
        return;
      case 'r':
        put(little_endian(4));
        return;
      case 0x94:
        put(memo_.size());
        return;
      case 'h':
        get(little_endian(1));
        return;
      case 'j':
        get(little_endian(4));
        return;
      case 'c': {
        const auto module = line();
        push_global(module, line());
        return;
      }
      case 0x93: {
        const auto* const name = pop(Kind::text, "a global's name");
        push_global(pop(Kind::text, "a module's name")->text, name->text);
        return;
      }
      case 'R':
        call();
        return;
      case 0x81:
        construct();
        return;
      case 'b':
        set_state();
        return;
      case 'Q':
        push_items(Kind::persistent, {pop()});
        return;
      default:
        fail(fmt::format("opcode 0x{:02x} is not of the subset that is read", opcode));
    }
  }

  Pickle& out_;
  std::string_view bytes_;
  const std::string& file_;
  const std::function<bool(std::string_view)>& allowed_;
  uint64_t at_ = 0, opcode_at_ = 0;
  size_t items_ = 0;
  std::vector<PickleValue*> stack_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
};

Pickle::Pickle(std::string_view bytes, const std::string& file, const std::function<bool(std::string_view)>& allowed) {
  PickleMachine(*this, bytes, file, allowed).run();
}

}  // namespace resflow::weights
