// A list of named things that can be made: samplers, degradations, metrics, ... Each folder lists its entries in `list.inc`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "resflow/core/error.h"

namespace resflow {

template <class T>
struct Entry {
  std::string name;  // = the file's name = the option's value
  std::string help;  // one line
  std::function<std::unique_ptr<T>()> make;
};

template <class T, class Made>
Entry<T> entry(std::string name, std::string help) {
  return {std::move(name), std::move(help), [] { return std::make_unique<Made>(); }};
}

// The nearest of `known` to `wrong` by edit distance, or "" where none is near.
std::string nearest_name(std::string_view wrong, const std::vector<std::string>& known);
// "unknown sampler 'eulr': wanted one of euler, heun. Did you mean 'euler'?"
[[noreturn]] void throw_unknown_name(std::string_view kind, std::string_view wrong, const std::vector<std::string>& known);

template <class T>
class Registry {
 public:
  Registry(std::string kind, std::vector<Entry<T>> entries) : kind_(std::move(kind)), entries_(std::move(entries)) {}

  const std::vector<Entry<T>>& entries() const { return entries_; }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& e : entries_) out.push_back(e.name);
    return out;
  }
  // Throws UserError with the names that exist.
  std::unique_ptr<T> make(std::string_view name) const {
    for (const auto& e : entries_)
      if (e.name == name) return e.make();
    throw_unknown_name(kind_, name, names());
  }

 private:
  std::string kind_;
  std::vector<Entry<T>> entries_;
};

}  // namespace resflow
