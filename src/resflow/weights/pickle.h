// Python's pickle format, read as data. A pickle is a program for a small stack machine, which in Python may import and call anything.
// Here the opcodes that build plain values are carried out, and those that would import, call or construct leave a node that names
// what was meant: nothing is looked up or executed. https://github.com/python/cpython/blob/main/Lib/pickletools.py lists the opcodes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace resflow::weights {

struct PickleValue {
  enum class Kind {
    none,
    boolean,     // integer: 0, 1
    integer,     // integer
    real,        // real
    text,        // text; bytes objects too
    tuple,       // items
    list,        // items
    dict,        // items: key, value, key, value, ...; collections.OrderedDict too
    global,      // text: "module.name"
    call,        // text: the global's name, items: the arguments
    object,      // text: the class's name, items: attributes as in a dict
    persistent,  // items: the one id, by which the file's owner knows something that is not in the pickle
  };
  Kind kind = Kind::none;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<const PickleValue*> items;  // an object's, list's and dict's may lead back to itself; a call's, tuple's and id's cannot

  bool is_call(std::string_view name) const { return kind == Kind::call && text == name; }
};

// A text of a file as a message may show it: printable ASCII, at most 100 characters.
std::string printable(std::string_view text);
// "a list of 3", "'text'", "torch.Size(...)": what a message says of a value.
std::string describe(const PickleValue& value);

class Pickle {
 public:
  // Reads one pickle, protocol 2 to 5, from the start of `bytes` to its end mark; what follows is not looked at. `file` begins the
  // messages. `allowed` is asked for every global by its full name. Throws UserError for one that is not allowed, for an opcode
  // outside the subset, and for anything cut short, out of place or absurdly large.
  Pickle(std::string_view bytes, const std::string& file, const std::function<bool(std::string_view)>& allowed);

  const PickleValue& root() const { return *root_; }
  uint64_t size() const { return size_; }                            // bytes, with the end mark
  const std::deque<PickleValue>& values() const { return values_; }  // every value that was made, whether or not the root holds it

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;  // owns all: no cycle leaks, and no depth overflows a stack
  const PickleValue* root_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace resflow::weights
