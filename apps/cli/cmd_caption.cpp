// resflow caption IN...
#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "resflow/core/files.h"
#include "resflow/core/log.h"
#include "resflow/restore/caption.h"
#include "resflow/restore/picture_list.h"

namespace resflow::cli {
namespace {

struct State {
  std::vector<std::string> inputs;
  std::string list;
  bool sidecar = false, overwrite = false, recursive = false, json = false;
  captioning::CaptionOptions captions{.captioner = "openai"};
  restore::ModelOptions model;
  image::DecodeLimits limits;
};

// -> {"input", "caption"}, with a sidecar its name; or "skipped", or "error".
Json caption_one(const State& state, const captioning::Captioner& captioner, const restore::Restorer& restorer, const std::filesystem::path& file) {
  Json entry = {{"input", file.string()}};
  const auto sidecar = captioning::sidecar_of(file);
  if (state.sidecar && !state.overwrite && std::filesystem::exists(sidecar)) {
    entry["skipped"] = sidecar.string() + " exists";
    return entry;
  }
  try {
    const auto picture = image::read_picture(file, state.limits);
    entry["caption"] = restore::caption_of(captioner, restorer, {.file = file, .picture = picture}, {.stop = interrupted()});
    if (state.sidecar) {
      write_text_atomically(sidecar, entry["caption"].get<std::string>() + "\n");
      entry["sidecar"] = sidecar.string();
    }
  } catch (const UserError& error) {
    entry["error"] = error.what();
  }
  return entry;
}

// {"image", "caption"} a line, pictures from the list's folder where they lie below it: what `resflow pack-latents` reads. A picture whose sidecar
// was there already has that one's words.
void write_list(const std::filesystem::path& path, const Json& items) {
  const auto folder = std::filesystem::absolute(path).parent_path();
  std::string lines;
  for (const auto& item : items) {
    if (item.contains("error")) continue;
    const std::filesystem::path file = item["input"].get<std::string>();
    const auto near = std::filesystem::absolute(file).lexically_normal().lexically_relative(folder.lexically_normal());
    const bool below = !near.empty() && *near.begin() != "..";
    const std::string caption =
        item.contains("caption") ? item["caption"].get<std::string>() : captioning::tidy_caption(read_text(captioning::sidecar_of(file)));
    const Json line = {{"image", below ? near.string() : std::filesystem::absolute(file).string()}, {"caption", caption}};
    lines += line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  create_folder(folder);
  write_text_atomically(path, lines);
  log_info(fmt::format("captions -> {}", path.string()));
}

int run(const State& state) {
  check_fields(state.model);
  check_fields(state.limits);
  const auto captioner = captioning::make_captioner(state.captions);
  if (!captioner) throw_user_error({.where = "--captioner", .problem = "nobody captions", .wanted = "openai or sidecar", .got = "none"});
  const auto found = restore::find_pictures(state.inputs, {.recursive = state.recursive});
  const restore::Restorer restorer(state.model);
  Json items = Json::array();
  int64_t failed = 0;
  for (const auto& picture : found) {
    if (interrupted().stop_requested()) throw Cancelled();
    Json entry = caption_one(state, *captioner, restorer, picture.file);
    if (entry.contains("error")) {
      ++failed;
      log_warn(entry["error"].get<std::string>());
    } else if (entry.contains("skipped")) {
      log_info(entry["skipped"].get<std::string>());
    } else if (!state.json) {
      std::printf("%s: %s\n", picture.file.c_str(), entry["caption"].get<std::string>().c_str());
      std::fflush(stdout);
    }
    items.push_back(std::move(entry));
  }
  if (!state.list.empty()) write_list(state.list, items);
  if (state.json) std::printf("%s\n", Json({{"items", items}, {"failed", failed}}).dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  if (failed == 0) return kGood;
  return found.size() > 1 ? kSomeFailed : kUserError;
}

}  // namespace

std::function<int()> command_caption(CLI::App& app) {
  auto state = std::make_shared<State>();
  app.add_option("inputs", state->inputs, "Pictures, folders of pictures, globs")->required();
  app.add_flag("--sidecar", state->sidecar, "Write each caption beside its picture: photo.jpg, photo.txt");
  app.add_option("--list", state->list, "Write all captions into one file too, {\"image\": path, \"caption\": text} a line (.jsonl)");
  app.add_flag("--overwrite", state->overwrite, "Make sidecar files anew that are there");
  app.add_flag("-r,--recursive", state->recursive, "Folders' subfolders too");
  app.add_flag("--json", state->json, "Print what was done as JSON");
  add_options(app, state->captions, "", "Captions");
  app.get_option("--caption-url")->envname("OPENAI_BASE_URL");
  add_options(app, state->model, "", "Model");
  app.get_option("--lora")->allow_extra_args(false);  // the next word may be a picture
  add_options(app, state->limits, "", "Files");
  app.footer(
      "The captioner sees what the degradation remover makes of a picture. A key, where one is needed, is in OPENAI_API_KEY.\n"
      "Examples:\n  resflow caption scans/ --sidecar --caption-url http://127.0.0.1:8080/v1\n"
      "  resflow caption photos/ --list photos/captions.jsonl      # for `resflow pack-latents`\n"
      "  resflow restore scans/ -o out/ --captioner sidecar --search resflow --rewards lq-consistency,clip-score\n"
      "Exit codes: 0 all good, 1 some pictures failed, 2 wrong input or option, 70 bug, 130 cancelled.");
  return [state] { return run(*state); };
}

}  // namespace resflow::cli
