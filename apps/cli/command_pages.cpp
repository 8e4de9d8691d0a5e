// The manual page and docs/options.md.
#include <fmt/format.h>

#include <algorithm>

#include "command_tree.h"

namespace resflow::cli {
namespace {

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) text.replace(at, what.size(), by);
  return text;
}

std::string joined(const std::vector<std::string>& words, const std::string& by) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : by) + word;
  return out;
}

// inputs... [OPTIONS]
std::string usage(const CommandText& command) {
  std::string out = "resflow " + command.name;
  for (const auto& option : command.options) {
    if (!option.positional) continue;
    const std::string name = option.names.front() + (option.many ? "..." : "");
    out += option.required ? " " + name : " [" + name + "]";
  }
  return out + " [OPTIONS]";
}

std::vector<std::string> groups_of(const CommandText& command) {
  std::vector<std::string> out;
  for (const auto& option : command.options)
    if (std::find(out.begin(), out.end(), option.group) == out.end()) out.push_back(option.group);
  return out;
}

// What stands behind the help: choices, default, variable.
std::string facts(const OptionText& option, const std::string& mark) {
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : "; ") + text; };
  if (option.required && !option.positional) add("required");
  if (!option.choices.empty()) add("one of " + mark + joined(option.choices, mark + ", " + mark) + mark);
  if (option.many && !option.positional) add("several with commas");
  if (!option.standard.empty() && option.standard != "[]" && option.standard != "{}" && option.standard != "\"\"")
    add("default " + mark + option.standard + mark);
  if (!option.environment.empty()) add("or the variable " + mark + option.environment + mark);
  return out;
}

// ---- troff

std::string troff(std::string text) {
  text = replaced(std::move(text), "\\", "\\e");
  text = replaced(std::move(text), "-", "\\-");
  text = replaced(std::move(text), "\n", " ");
  return text.starts_with('.') || text.starts_with('\'') ? "\\&" + text : text;
}

std::string troff_option(const OptionText& option) {
  std::vector<std::string> names = option.names;
  if (!option.opposite.empty()) names.push_back(option.opposite);
  std::string head = "\\fB" + troff(joined(names, ", ")) + "\\fR";
  if (!option.value.empty() && !option.positional) head += " \\fI" + option.value + "\\fR";
  const std::string more = facts(option, "");
  return ".TP\n" + head + "\n" + troff(option.help + (more.empty() ? "." : " (" + more + ").")) + "\n";
}

std::string troff_footer(const std::string& footer) {
  std::string out;
  bool example = false;
  size_t at = 0;
  while (at < footer.size()) {
    const size_t end = std::min(footer.find('\n', at), footer.size());
    const std::string line = footer.substr(at, end - at);
    at = end + 1;
    const bool indented = line.starts_with("  ");
    if (indented != example) out += indented ? ".PP\n.nf\n" : ".fi\n.PP\n";
    example = indented;
    if (!line.empty()) out += (indented ? "    " + troff(line.substr(2)) : troff(line)) + "\n";
    if (!indented && at < footer.size() && !footer.substr(at).starts_with("  ")) out += ".br\n";
  }
  return out + (example ? ".fi\n" : "");
}

// ---- Markdown

std::string cell(std::string text) { return replaced(replaced(std::move(text), "|", "\\|"), "\n", " "); }

std::string markdown_option(const OptionText& option) {
  std::string names = "`" + joined(option.names, "`, `") + (option.value.empty() || option.positional ? "" : " " + option.value) + "`";
  if (!option.opposite.empty()) names += ", `" + option.opposite + "`";
  const std::string more = facts(option, "`");
  return "| " + cell(names) + " | " + cell(option.help) + (more.empty() ? "" : "; " + cell(more)) + " |\n";
}

std::string markdown_table(const CommandText& command, const std::string& group) {
  std::string out = "\n| " + (group == "Options" ? "option" : group) + " | |\n|---|---|\n";
  for (const auto& option : command.options)
    if (option.group == group) out += markdown_option(option);
  return out;
}

}  // namespace

std::string manual_page(const ProgramText& program) {
  std::string out = ".\\\" Made by `resflow docs --man`.\n.TH RESFLOW 1 \"\" \"resflow " RESFLOW_VERSION "\" \"User Commands\"\n";
  out += ".SH NAME\nresflow \\- restore photographs: blurred, noisy, compressed, small\n.SH SYNOPSIS\n.B resflow\n.I COMMAND\n.RI [ OPTIONS ]\n";
  out += ".SH DESCRIPTION\n" + troff(program.help) + "\n.PP\nThe commands:\n";
  for (const auto& command : program.commands) out += ".TP\n.B " + troff(command.name) + "\n" + troff(command.help) + ".\n";
  out += ".SH OPTIONS\nOf every command:\n";
  for (const auto& option : program.options) out += troff_option(option);
  out += ".SH COMMANDS\n";
  for (const auto& command : program.commands) {
    out += ".SS " + troff(usage(command)) + "\n" + troff(command.help) + ".\n";
    for (const auto& group : groups_of(command)) {
      if (group != "Options" && group != "Positionals") out += ".PP\n" + troff(group) + ":\n";
      for (const auto& option : command.options)
        if (option.group == group) out += troff_option(option);
    }
    if (!command.footer.empty()) out += ".PP\n" + troff_footer(command.footer);
  }
  out += ".SH EXIT STATUS\n";
  for (const auto& [code, text] : {std::pair{"0", "done"},
                                   {"1", "some of several inputs failed; they are listed"},
                                   {"2", "something that the user can mend: a file, an option, memory"},
                                   {"70", "a bug in resflow"},
                                   {"130", "cancelled"}})
    out += std::string(".TP\n.B ") + code + "\n" + text + "\n";
  out += ".SH ENVIRONMENT\n";
  for (const auto& [name, text] : {std::pair{"RESFLOW_DATA", "the folder that holds weights/ and web/"},
                                   {"RESFLOW_API_KEY", "the server's key, for resflow serve"},
                                   {"OPENAI_API_KEY, OPENAI_BASE_URL", "the captioner's key and address"},
                                   {"HF_HOME, HF_HUB_CACHE", "where models of Hugging Face's cache are found"}})
    out += std::string(".TP\n.B ") + name + "\n" + troff(text) + "\n";
  return out;
}

std::string options_page(const ProgramText& program) {
  std::string out =
      "# Options\n\nMade by `resflow docs --markdown` from the program's own tables: not to be edited. `resflow COMMAND --help` shows the same.\n";
  out += "\n| every command | |\n|---|---|\n";
  for (const auto& option : program.options) out += markdown_option(option);
  for (const auto& command : program.commands) {
    out += "\n## resflow " + command.name + "\n\n" + command.help + ".\n\n    " + usage(command) + "\n";
    for (const auto& group : groups_of(command)) out += markdown_table(command, group);
  }
  return out;
}

}  // namespace resflow::cli
