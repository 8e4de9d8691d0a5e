#include "command_tree.h"

#include <algorithm>

namespace resflow::cli {
namespace {

std::vector<std::string> split(const std::string& text, const std::string& by) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(by, at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + by.size();
  }
  return out;
}

// "ODE solver (euler | heun)", as add_options() writes it: takes the choices out of the help.
void take_choices(OptionText& option) {
  const size_t begin = option.help.rfind(" (");
  if (begin == std::string::npos || !option.help.ends_with(')')) return;
  const auto inside = option.help.substr(begin + 2, option.help.size() - begin - 3);
  const auto names = split(inside, " | ");
  const bool words = std::none_of(names.begin(), names.end(), [](const std::string& name) { return name.find_first_of(" ,;") != std::string::npos; });
  if (names.size() < 2 || !words) return;
  option.choices = names;
  option.help.resize(begin);
}

OptionText read_option(const CLI::Option& option) {
  OptionText out{
      .help = option.get_description(), .standard = option.get_default_str(), .environment = option.get_envname(), .group = option.get_group()};
  out.positional = option.get_lnames().empty() && option.get_snames().empty();
  out.required = option.get_required();
  out.many = option.get_delimiter() != '\0' || (out.positional && option.get_expected_max() > 1);
  const auto& names = option.get_lnames();
  for (const auto& name : names) {
    const bool opposite = name.starts_with("no-") && std::find(names.begin(), names.end(), name.substr(3)) != names.end();
    (opposite ? out.opposite : out.names.emplace_back()) = "--" + name;
  }
  for (const auto& name : option.get_snames()) out.names.push_back("-" + name);
  if (out.positional) out.names.push_back(option.get_name(/*positional=*/true));
  take_choices(out);
  if (option.get_expected_max() == 0) return out;
  // "TEXT", "TEXT:{none,small,all}", "NUMBER [UNIT]"
  const std::string type = option.get_type_name();
  if (const size_t open = type.find(":{"); open != std::string::npos && out.choices.empty())
    out.choices = split(type.substr(open + 2, type.find('}', open) - open - 2), ",");
  out.value = type.substr(0, type.find_first_of(": ["));
  if (out.value == "FLOAT") out.value = "NUMBER";
  if (out.value == "UINT") out.value = "INT";
  return out;
}

std::vector<OptionText> read_options(const CLI::App& app) {
  std::vector<OptionText> out;
  for (const auto* option : app.get_options())
    if (option != app.get_help_ptr() && !option->get_group().empty()) out.push_back(read_option(*option));
  std::stable_partition(out.begin(), out.end(), [](const OptionText& option) { return option.positional; });
  return out;
}

}  // namespace

ProgramText read_tree(const CLI::App& program) {
  ProgramText out{.help = program.get_description(), .options = read_options(program)};
  for (const auto* command : program.get_subcommands([](const CLI::App*) { return true; }))
    out.commands.push_back(
        {.name = command->get_name(), .help = command->get_description(), .footer = command->get_footer(), .options = read_options(*command)});
  return out;
}

}  // namespace resflow::cli
