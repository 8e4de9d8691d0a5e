// resflow serve
#include <cstdio>

#include "command.h"
#include "resflow/core/log.h"
#include "server/server.h"

namespace resflow::cli {
namespace {

struct State {
  restore::ModelOptions model;
  server::ServeOptions serve;
};

int run(const State& state) {
  check_fields(state.model);
  server::serve(state.serve, state.model, interrupted(), [](const std::string& url) {
    std::printf("resflow: listening on %s\n", url.c_str());
    std::fflush(stdout);
  });
  log_info("stopped");
  return kGood;
}

}  // namespace

std::function<int()> command_serve(CLI::App& app) {
  auto state = std::make_shared<State>();
  add_options(app, state->serve, "", "Server");
  app.get_option("--api-key")->envname("RESFLOW_API_KEY");
  app.get_option("--max-body")->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
  app.get_option("--job-timeout")->transform(CLI::AsNumberWithUnit(std::map<std::string, double>{{"s", 1}, {"m", 60}, {"h", 3600}}));
  add_options(app, state->serve.captions, "", "Captions");
  app.get_option("--caption-url")->envname("OPENAI_BASE_URL");
  add_options(app, state->model, "", "Model");
  app.footer(
      "Examples:\n  resflow serve\n  resflow serve --port 0 --data /srv/resflow --max-body 200MB\n"
      "  RESFLOW_API_KEY=... resflow serve --host 0.0.0.0\n"
      "  resflow serve --captioner openai --caption-url http://127.0.0.1:8080/v1    # jobs without a caption get one\n"
      "The web page is at the address that is printed; docs/server.md has the API.");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
