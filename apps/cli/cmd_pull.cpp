// resflow pull NAME: public weight files, fetched and checked.
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "resflow/core/json.h"
#include "resflow/core/log.h"
#include "resflow/core/registry.h"
#include "resflow/download/hub.h"
#include "resflow/download/transfer.h"
#include "resflow/download/url.h"
#include "resflow/weights/hub_cache.h"
#include "resflow/weights/public_weights.h"

namespace resflow::cli {
namespace {

namespace fs = std::filesystem;

struct State {
  std::string name, to, mirror, sha256;
  std::vector<std::string> include, exclude;
  int retries = 5;
  bool list = false, json = false;
};

void print_list() {
  for (const auto& known : weights::public_weights()) {
    const bool there = fs::exists(weights::place_of(known));
    std::printf("%-24s %7.1f MB  %s%s\n", std::string(known.name).c_str(), static_cast<double>(known.size) / 1e6, std::string(known.what).c_str(),
                there ? "  [here]" : "");
  }
  std::printf("%-24s             a model of Hugging Face's hub, as black-forest-labs/FLUX.1-dev\n", "ORG/NAME[@REVISION]");
  std::printf("%-24s             any file, with --sha256\n", "https://...");
}

// The same path at another host.
std::string mirrored(const std::string& url, const std::string& mirror) {
  if (mirror.empty()) return url;
  std::string base = mirror;
  while (base.ends_with('/')) base.pop_back();
  return base + download::parse_url(url).path;
}

int finish(const State& state, const fs::path& place, bool there_before, const std::string& use) {
  end_progress();
  if (state.json)
    std::printf("%s\n", Json({{"name", state.name}, {"path", place.string()}, {"there_before", there_before}}).dump(2).c_str());
  else
    std::printf("%s\n", place.string().c_str());
  log_info((there_before ? "was there already and is whole" : "fetched and checked") + (use.empty() ? std::string() : ". Use it: " + use));
  return kGood;
}

int pull_file(const State& state, const download::RemoteFile& file, const fs::path& place, const std::string& use, const Job& job) {
  const auto fetched = download::fetch(file, place, {.retries = state.retries}, job);
  return finish(state, place, fetched == download::Fetched::there_before, use);
}

int pull_known(const State& state, const weights::PublicWeights& known, const Job& job) {
  const fs::path place = state.to.empty() ? weights::place_of(known) : fs::path(state.to) / known.file;
  const std::string use =
      fmt::format("resflow restore photo.jpg -o out.png --dr-file {}", state.to.empty() ? std::string(known.name) : place.string());
  return pull_file(state,
                   {.url = mirrored(std::string(known.url), state.mirror),
                    .size = known.size,
                    .sha256 = std::string(known.sha256),
                    .name = std::string(known.file)},
                   place, use, job);
}

int pull_address(const State& state, const Job& job) {
  const auto url = download::parse_url(state.name);
  if (state.sha256.size() != 64 || state.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw_user_error({.where = "--sha256",
                      .problem = "the file's checksum, without which nobody knows what came",
                      .wanted = "64 hexadecimal digits, 0-9 a-f",
                      .got = state.sha256.empty() ? "none" : state.sha256});
  const std::string file = fs::path(url.path.substr(0, url.path.find('?'))).filename();
  if (file.empty()) throw_user_error({.where = "pull", .problem = "an address without a file's name", .got = state.name});
  return pull_file(state, {.url = mirrored(state.name, state.mirror), .sha256 = state.sha256, .name = file}, fs::path(state.to) / file, "", job);
}

int pull_model(const State& state, const Job& job) {
  if (!state.to.empty() || !state.mirror.empty())
    throw_user_error({.where = state.to.empty() ? "--mirror" : "--to",
                      .problem = "models of Hugging Face's go into its cache",
                      .hint = "Set HF_HUB_CACHE to choose the folder, HF_ENDPOINT the server"});
  const download::TransferOptions options{.retries = state.retries};
  const auto listing = download::list_hub(state.name, options);
  const auto files = download::wanted_files(listing, state.include, state.exclude);
  double bytes = 0;
  for (const auto& file : files) bytes += static_cast<double>(file.size);
  log_info(fmt::format("{} at {}: {} files, {:.2f} GB", listing.repository, listing.commit.substr(0, 8), files.size(), bytes / 1e9));
  const auto folder = download::pull_hub(listing, files, options, job);
  return finish(state, folder, false, fmt::format("--model {}", state.name));
}

int run(const State& state) {
  if (state.list) {
    print_list();
    return kGood;
  }
  const Job job{.on_progress = progress_printer(""), .stop = interrupted()};
  if (state.name.find("://") != std::string::npos) return pull_address(state, job);
  if (const auto* known = weights::find_public_weights(state.name)) return pull_known(state, *known, job);
  if (weights::is_hub_name(state.name)) return pull_model(state, job);
  std::vector<std::string> names;
  for (const auto& known : weights::public_weights()) names.emplace_back(known.name);
  throw_unknown_name("model", state.name, names);
}

}  // namespace

std::function<int()> command_pull(CLI::App& app) {
  auto state = std::make_shared<State>();
  auto* name =
      app.add_option("name", state->name, "What to fetch: a name of --list, ORG/NAME[@REVISION] of Hugging Face's hub, or an https:// address");
  auto* list = app.add_flag("--list", state->list, "Say what there is by name");
  app.add_option("--to", state->to, "Folder; default: the cache, where the name is found again ($RESFLOW_CACHE, ~/.cache/resflow)");
  app.add_option("--mirror", state->mirror,
                 "Take the same path from this address instead (https://mirror.example); what comes is checked all the same");
  app.add_option("--sha256", state->sha256, "Checksum of an address's file");
  app.add_option("--include", state->include, "Of a hub's model: only files of these patterns ('transformer/*')");
  app.add_option("--exclude", state->exclude, "Of a hub's model: no files of these patterns");
  app.add_option("--retries", state->retries, "New tries in a row, when the connection breaks and nothing is gained")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  app.add_flag("--json", state->json, "Print where it is as JSON");
  app.footer(
      "Examples:\n  resflow pull real-esrgan\n  resflow pull black-forest-labs/FLUX.1-dev     # gated: accept its licence, set HF_TOKEN\n"
      "  resflow pull black-forest-labs/FLUX.1-schnell --include 'vae/*' --include model_index.json\n"
      "Stopped or cut off, even by kill -9? The same command goes on where it was.");
  return [state, name, list] {
    if (name->count() == 0 && list->count() == 0)
      throw_user_error({.where = "pull", .problem = "nothing to fetch", .wanted = "a name", .hint = "`resflow pull --list` says what there is"});
    return run(*state);
  };
}

}  // namespace resflow::cli
