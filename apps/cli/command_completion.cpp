// Completions of commands, options and the values of those that have a list, for three shells.
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

std::string shell_quoted(const std::string& text) { return "'" + replaced(text, "'", "'\\''") + "'"; }

// A command's options, and those that every command takes.
std::vector<OptionText> with_general(const ProgramText& program, const std::vector<OptionText>& options) {
  std::vector<OptionText> out;
  for (const auto& option : options)
    if (!option.positional) out.push_back(option);
  out.insert(out.end(), program.options.begin(), program.options.end());
  out.push_back({.names = {"--help", "-h"}, .help = "Print this help message and exit"});
  return out;
}

std::string words_of(const std::vector<OptionText>& options) {
  std::vector<std::string> words;
  for (const auto& option : options) {
    words.insert(words.end(), option.names.begin(), option.names.end());
    if (!option.opposite.empty()) words.push_back(option.opposite);
  }
  return joined(words, " ");
}

std::string bash_values(const std::string& command, const std::vector<OptionText>& options) {
  std::string out, files, none;
  for (const auto& option : options) {
    if (option.value.empty()) continue;
    std::vector<std::string> patterns;
    for (const auto& name : option.names) patterns.push_back(command + ":" + name);
    const std::string pattern = joined(patterns, "|");
    if (!option.choices.empty())
      out += "    " + pattern + ") _resflow_words " + (option.many ? "," : "''") + " '" + joined(option.choices, " ") + "'; return ;;\n";
    else
      (option.takes_file() ? files : none) += (option.takes_file() ? files : none).empty() ? pattern : "|" + pattern;
  }
  if (!files.empty()) out += "    " + files + ") compopt -o default; return ;;\n";
  if (!none.empty()) out += "    " + none + ") return ;;\n";
  return out;
}

// zsh: an option's spec for _arguments.
std::string zsh_text(const std::string& text) {
  return replaced(replaced(replaced(replaced(text, "\\", "\\\\"), "[", "\\["), "]", "\\]"), ":", "\\:");
}

std::string zsh_option(const OptionText& option) {
  std::string out;
  std::vector<std::string> names = option.names;
  if (!option.opposite.empty()) names.push_back(option.opposite);
  for (const auto& name : names) {
    std::string spec = name + (option.value.empty() ? "" : name.starts_with("--") ? "=" : "+") + "[" + zsh_text(option.help) + "]";
    if (!option.value.empty()) {
      spec += ":" + option.value + ":";
      if (option.many && !option.choices.empty())
        spec += "_sequence compadd - " + joined(option.choices, " ");
      else if (!option.choices.empty())
        spec += "(" + joined(option.choices, " ") + ")";
      else if (option.takes_file())
        spec += "_files";
    }
    out += " \\\n        " + shell_quoted(spec);
  }
  return out;
}

std::string fish_option(const std::string& condition, const OptionText& option) {
  std::string out;
  std::vector<std::string> names = option.names;
  if (!option.opposite.empty()) names.push_back(option.opposite);
  for (const auto& name : names) {
    const bool is_long = name.starts_with("--");
    out += "complete -c resflow" + condition + (is_long ? " -l " + name.substr(2) : " -s " + name.substr(1));
    if (!option.choices.empty())
      out += " -x -a " + shell_quoted(joined(option.choices, " "));
    else if (!option.value.empty())
      out += option.takes_file() ? " -r" : " -x";
    out += " -d " + shell_quoted(option.help) + "\n";
  }
  return out;
}

}  // namespace

std::string bash_completion(const ProgramText& program) {
  std::string commands, values, options;
  for (const auto& command : program.commands) {
    const auto all = with_general(program, command.options);
    commands += (commands.empty() ? "" : " ") + command.name;
    values += bash_values(command.name, all);
    options += "    " + command.name + ") _resflow_words '' '" + words_of(all) + "' ;;\n";
  }
  return R"(# bash completion of resflow. Made by `resflow docs --completion bash`.
# _resflow_words SEPARATOR WORDS: those that the word at hand may become; with a separator its last part.
_resflow_words() {
  local head='' word
  [[ -n $1 && $cur == *"$1"* ]] && head="${cur%"$1"*}$1"
  while IFS= read -r word; do COMPREPLY+=("$head$word"); done < <(compgen -W "$2" -- "${cur#"$head"}")
}
_resflow() {
  local cur="${COMP_WORDS[COMP_CWORD]}" option="${COMP_WORDS[COMP_CWORD - 1]}" command='' i
  COMPREPLY=()
  # --option=value comes as three words
  if [[ $cur == = ]]; then cur=''; elif [[ $option == = ]]; then option="${COMP_WORDS[COMP_CWORD - 2]}"; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ " )" +
         commands +
         R"( " == *" ${COMP_WORDS[i]} "* ]] && { command="${COMP_WORDS[i]}"; break; }
  done
  if [[ -z $command ]]; then
    if [[ $cur == -* ]]; then _resflow_words '' ')" +
         words_of(with_general(program, {})) + R"('; else _resflow_words '' ')" + commands + R"('; fi
    return
  fi
  case "$command:$option" in
)" + values +
         R"(  esac
  if [[ $cur != -* ]]; then compopt -o default; return; fi
  case "$command" in
)" + options +
         R"(  esac
}
complete -F _resflow resflow
)";
}

std::string zsh_completion(const ProgramText& program) {
  std::string out =
      "#compdef resflow\n# Made by `resflow docs --completion zsh`.\n_resflow() {\n  local state line context\n  typeset -A opt_args\n  _arguments "
      "-C";
  for (const auto& option : with_general(program, {})) out += zsh_option(option);
  out += " \\\n        '1:command:->command' '*::argument:->argument'\n  case $state in\n    command)\n      local -a commands\n      commands=(\n";
  for (const auto& command : program.commands) out += "        " + shell_quoted(command.name + ":" + command.help) + "\n";
  out += "      )\n      _describe command commands ;;\n    argument)\n      case $words[1] in\n";
  for (const auto& command : program.commands) {
    out += "      " + command.name + ") _arguments";
    for (const auto& option : with_general(program, command.options)) out += zsh_option(option);
    out += " \\\n        '*:file:_files' ;;\n";
  }
  return out + "      esac ;;\n  esac\n}\nif [[ $zsh_eval_context[-1] == loadautofunc ]]; then _resflow \"$@\"; else compdef _resflow resflow; fi\n";
}

std::string fish_completion(const ProgramText& program) {
  std::string out = "# fish completion of resflow. Made by `resflow docs --completion fish`.\n";
  for (const auto& option : with_general(program, {})) out += fish_option("", option);
  for (const auto& command : program.commands)
    out += "complete -c resflow -f -n __fish_use_subcommand -a " + command.name + " -d " + shell_quoted(command.help) + "\n";
  for (const auto& command : program.commands)
    for (const auto& option : command.options)
      if (!option.positional) out += fish_option(" -n '__fish_seen_subcommand_from " + command.name + "'", option);
  return out;
}

}  // namespace resflow::cli
