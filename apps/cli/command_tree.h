// The commands and their options as the documents and completions need them, read off the parser's own tree.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace resflow::cli {

struct OptionText {
  std::vector<std::string> names;     // "--output", "-o"; of a positional its name alone
  std::string opposite;               // "--no-checks"; "" where there is none
  std::string help, value;            // value: TEXT, INT, NUMBER; "" of a flag
  std::string standard, environment;  // default and variable; "" where there is none
  std::string group;
  std::vector<std::string> choices;
  bool positional = false, required = false, many = false;  // many: several values with commas

  bool takes_file() const { return value == "TEXT" && choices.empty(); }
};

struct CommandText {
  std::string name, help, footer;
  std::vector<OptionText> options;  // in the order of --help
};

struct ProgramText {
  std::string help;
  std::vector<OptionText> options;  // that every command takes
  std::vector<CommandText> commands;
};

ProgramText read_tree(const CLI::App& program);

// The documents: the manual page (section 1), docs/options.md, and completions for bash, zsh and fish.
std::string manual_page(const ProgramText& program);
std::string options_page(const ProgramText& program);
std::string bash_completion(const ProgramText& program);
std::string zsh_completion(const ProgramText& program);
std::string fish_completion(const ProgramText& program);

}  // namespace resflow::cli
