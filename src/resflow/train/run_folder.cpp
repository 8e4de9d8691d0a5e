#include "resflow/train/run_folder.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <numbers>

#include "resflow/core/files.h"
#include "resflow/weights/safetensors.h"
#include "resflow/weights/tensor_file.h"

namespace resflow::train {
namespace {

constexpr const char* kLog = "log.jsonl";

}  // namespace

RunFolder::RunFolder(const std::filesystem::path& path, bool write) : path_(path) {
  if (write) create_folder(path);
}

int64_t RunFolder::resume(const NamedTensors& state) const {
  if (!std::filesystem::exists(checkpoint())) return 0;
  const auto file = weights::TensorFile::open(checkpoint());
  at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : state) {
    const Tensor saved = file.get(name);
    if (saved.sizes() != tensor.sizes())
      throw_user_error({.where = checkpoint().string(),
                        .problem = "tensor '" + name + "' does not fit the model",
                        .wanted = c10::str(tensor.sizes()),
                        .got = c10::str(saved.sizes()),
                        .hint = "Is `model` changed since? Choose another output folder"});
    tensor.copy_(saved);
  }
  const auto step = file.metadata().find("step");
  if (step == file.metadata().end() || step->second.find_first_not_of("0123456789") != std::string::npos || step->second.empty())
    throw_user_error({.where = checkpoint().string(), .problem = "not a checkpoint: its metadata has no step"});
  return std::stoll(step->second);
}

void RunFolder::save(const NamedTensors& state, int64_t step, const Json& options) const {
  weights::write_safetensors(checkpoint(), state, {{"step", std::to_string(step)}, {"options", options.dump()}});
}

void RunFolder::open_log(int64_t step) {
  const auto path = path_ / kLog;
  if (std::filesystem::exists(path)) {
    std::ifstream in(path);
    std::string kept, line;
    while (std::getline(in, line)) {
      const Json entry = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!entry.is_discarded() && entry.value("step", int64_t{0}) <= step) kept += line + "\n";
    }
    write_text_atomically(path, kept);
  }
  log_.open(path, std::ios::app);
  if (!log_) throw_user_error({.where = path.string(), .problem = "cannot be written"});
}

void RunFolder::log(const Json& entry) {
  log_ << entry.dump() << "\n";
  log_.flush();
  if (!log_)
    throw_user_error({.where = (path_ / kLog).string(),
                      .problem = std::string("cannot be written: ") + std::strerror(errno),
                      .hint = "Check free space; the last checkpoint is good"});
}

double learning_rate_at(const TrainOptions& o, int64_t step, double progress) {
  if (step <= o.warmup) return o.learning_rate * static_cast<double>(step) / static_cast<double>(std::max<int64_t>(o.warmup, 1));
  const auto steps = static_cast<double>(o.steps), warmup = static_cast<double>(o.warmup);
  const double done = (progress * steps - warmup) / std::max(steps - warmup, 1.0);
  return o.final_learning_rate + (o.learning_rate - o.final_learning_rate) * 0.5 * (1 + std::cos(std::numbers::pi * std::min(done, 1.0)));
}

}  // namespace resflow::train
