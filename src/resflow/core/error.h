// Two kinds of failure: what the user can mend (UserError: exit 2, HTTP 400) and bugs (c10::Error, anything else: exit 70).
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace resflow {

// Wrong input, file or option. The text says where, what was wrong, wanted, got, and a hint.
struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A stop was asked for (Ctrl-C, a deadline). Not an error of anyone's.
struct Cancelled : std::exception {
  const char* what() const noexcept override { return "cancelled"; }
};

// "[where] problem: wanted X, got Y. hint." Empty parts are left out.
struct Complaint {
  std::string where, problem, wanted, got, hint;
};
[[noreturn]] void throw_user_error(const Complaint& complaint);

// What a person should read of an exception: no backtrace, and out-of-memory with a way out.
std::string readable_message(const std::exception& error);

// Runs `action`; a UserError thrown inside is rethrown with "doing: " before its text.
template <class Action>
decltype(auto) with_context(std::string_view doing, Action&& action) {
  try {
    return std::forward<Action>(action)();
  } catch (const UserError& error) {
    throw UserError(std::string(doing) + ": " + error.what());
  }
}

}  // namespace resflow
