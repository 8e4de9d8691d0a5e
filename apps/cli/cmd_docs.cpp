// resflow docs: what is written about the program, by the program.
#include <cstdio>

#include "command.h"
#include "command_tree.h"

namespace resflow::cli {

std::function<int()> command_docs(CLI::App& app) {
  struct State {
    std::string completion;
    bool man = false, markdown = false;
  };
  auto state = std::make_shared<State>();
  auto* man = app.add_flag("--man", state->man, "The manual page: man -l resflow.1");
  auto* markdown = app.add_flag("--markdown", state->markdown, "All options, as docs/options.md")->excludes(man);
  app.add_option("--completion", state->completion, "Completions for a shell")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->excludes(man)
      ->excludes(markdown);
  app.footer(
      "Examples:\n  resflow docs --man > resflow.1\n"
      "  resflow docs --completion bash > ~/.local/share/bash-completion/completions/resflow\n"
      "  resflow docs --completion fish > ~/.config/fish/completions/resflow.fish\n"
      "`cmake --install build` puts them where the system looks.");
  return [state, &app] {
    if (!state->man && !state->markdown && state->completion.empty())
      throw_user_error(
          {.where = "docs", .problem = "nothing is asked for", .wanted = "--man, --markdown or --completion SHELL", .got = "none of them"});
    const ProgramText program = read_tree(*app.get_parent());
    const std::string text = state->man                    ? manual_page(program)
                             : state->markdown             ? options_page(program)
                             : state->completion == "bash" ? bash_completion(program)
                             : state->completion == "zsh"  ? zsh_completion(program)
                                                           : fish_completion(program);
    std::fputs(text.c_str(), stdout);
    return kGood;
  };
}

}  // namespace resflow::cli
