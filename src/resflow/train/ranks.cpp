// c10d (PyTorch's own collectives): a TCPStore to meet at, then Gloo or NCCL.
#include "resflow/train/ranks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <unistd.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>

#include "resflow/core/device.h"

// Set by cmake/ranks.cmake where the headers are there. Gloo's are Debian's and older than the Gloo inside libtorch: nothing of Gloo's own may be
// used here, only c10d's class, which holds it by pointers.
#ifdef RESFLOW_GLOO
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#ifdef RESFLOW_NCCL
#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace resflow::train {
namespace {

using Backend = c10::intrusive_ptr<c10d::Backend>;
using Store = c10::intrusive_ptr<c10d::Store>;

bool has_gloo() {
#ifdef RESFLOW_GLOO
  return true;
#else
  return false;
#endif
}

bool has_nccl() {
#ifdef RESFLOW_NCCL
  return true;
#else
  return false;
#endif
}

std::string chosen_backend(const std::string& wanted, c10::Device device) {
  if (wanted == "nccl" && !device.is_cuda())
    throw_user_error({.where = "ranks.backend", .problem = "nccl carries between GPUs only", .wanted = "gloo", .got = "device " + device.str()});
  if (wanted == "nccl" && !has_nccl())
    throw_user_error({.where = "ranks.backend",
                      .problem = "this build has no nccl",
                      .wanted = "gloo",
                      .hint = "docs/training.md says which headers a build with nccl needs"});
  if (wanted == "nccl" || (wanted == "auto" && device.is_cuda() && has_nccl())) return "nccl";
  if (!has_gloo())
    throw_user_error({.where = "ranks.backend",
                      .problem = "this build cannot train in several processes",
                      .hint = "Install libgloo-dev, then run cmake and build again; or start one process, without torchrun"});
  return "gloo";
}

c10::Device device_of(const TrainOptions& options, const RankPlace& place) {
  const c10::Device device = parse_device(options.device);
  if (place.count == 1 || !device.is_cuda()) return device;
  const auto gpus = static_cast<int64_t>(at::detail::getCUDAHooks().deviceCount());
  const auto gpu = gpu_of(options.device, place.local, gpus);
  if (!gpu) return device;
  if (place.local >= gpus && chosen_backend(options.ranks.backend, device) == "nccl")
    throw_user_error({.where = "train",
                      .problem = "more ranks than GPUs on this machine",
                      .wanted = fmt::format("{} at most", gpus),
                      .hint = "Start fewer with --nproc-per-node, or let them share with --ranks.backend gloo"});
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(*gpu)};
}

Backend make_backend(const std::string& name, const Store& store, const RankPlace& place, std::chrono::milliseconds timeout) {
  [[maybe_unused]] const auto rank = static_cast<int>(place.rank), count = static_cast<int>(place.count);
#ifdef RESFLOW_NCCL
  if (name == "nccl") {
    const auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = timeout;
    return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, count, options);
  }
#endif
#ifdef RESFLOW_GLOO
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, count, c10d::ProcessGroupGloo::Options::create_default(timeout));
#endif
  TORCH_CHECK(false, "no backend ", name);
}

// What may differ from rank to rank: paths, and how each does its work.
Json must_agree(const TrainOptions& options, const std::string& backend) {
  Json all = fields_to_json(options);
  for (const char* own : {"output", "data", "validation", "validation_network", "remover", "flow", "init_from", "feature_network", "teacher",
                          "device", "workers", "loaders", "profile"})
    all.erase(own);
  for (const char* own : {"model", "autoencoder"}) all["flux"].erase(own);
  all["ranks"]["backend"] = backend;
  return all.flatten();
}

// What c10d says, without Gloo's place in its sources and its advice.
std::string reason(const std::exception& error) {
  std::string text = readable_message(error);
  text = text.substr(0, text.find('\n'));
  text = text.substr(0, text.find(". This is typically"));
  return text.starts_with("[/") && text.find("] ") != std::string::npos ? text.substr(text.find("] ") + 2) : text;
}

}  // namespace

struct Ranks::Group {
  std::string name;
  Store store;
  Backend backend;
  RankPlace place;

  // Does what needs the others.
  template <class Action>
  auto with_others(Action&& action) const {
    try {
      return action();
    } catch (const UserError&) {
      throw;
    } catch (const std::exception& error) {
      throw_user_error({.where = "train",
                        .problem = fmt::format("rank {} of {} has lost the others", place.rank, place.count),
                        .got = reason(error),
                        .hint = "What ended first says why. The last checkpoint is good: the same command goes on from it"});
    }
  }
  void wait(const c10::intrusive_ptr<c10d::Work>& work) const {
    with_others([&] { work->wait(); });
  }
  c10::intrusive_ptr<c10d::Work> sum(const Tensor& tensor) const {
    return with_others([&] {
      std::vector<Tensor> list = {tensor};
      return backend->allreduce(list);
    });
  }
};

Ranks::Ranks(const TrainOptions& options) : place_(rank_place()), device_(device_of(options, place_)) {
  if (place_.count == 1) return;
  const std::chrono::milliseconds timeout = std::chrono::seconds(options.ranks.timeout);
  const std::string name = chosen_backend(options.ranks.backend, device_);
  c10d::TCPStoreOptions where;
  where.port = static_cast<uint16_t>(place_.port);
  where.isServer = place_.hosts;
  where.numWorkers = static_cast<size_t>(place_.count);
  where.waitWorkers = false;  // all are waited for below
  where.timeout = timeout;
  try {
    const auto tcp = c10::make_intrusive<c10d::TCPStore>(place_.address, where);
    const Store store = c10::make_intrusive<c10d::PrefixStore>(place_.prefix, tcp);
    group_ = std::make_unique<Group>(Group{name, store, {}, place_});
    check_agreement(options);
    group_->backend = make_backend(name, store, place_, timeout);
    meet();
  } catch (const UserError&) {
    throw;
  } catch (const std::exception& error) {
    throw_user_error(
        {.where = "train",
         .problem = fmt::format("rank {} did not meet the other {} at {}:{}", place_.rank, place_.count - 1, place_.address, place_.port),
         .got = reason(error),
         .hint = "Are all of them started, with one MASTER_ADDR and MASTER_PORT that every machine reaches?"});
  }
}

Ranks::Ranks(c10::Device device) : device_(device) {}

Ranks::~Ranks() {
  if (!group_ || !group_->backend || std::uncaught_exceptions() == 0) return;
  // With an error on its way out there may be sums that the others have not come to. Ending the group would wait for them, and they for us: so it is
  // left as it is, and the process ends without clearing up, which closes its connections and tells the others.
  static_cast<void>(group_.release());
  ::on_exit(
      [](int code, void*) {
        std::fflush(nullptr);
        ::_exit(code);
      },
      nullptr);
}

std::string Ranks::described() const { return group_ ? fmt::format(", {} ranks by {}", place_.count, group_->name) : ""; }

void Ranks::check_agreement(const TrainOptions& options) {
  const auto& store = group_->store;
  store->set(fmt::format("options/{}", place_.rank), must_agree(options, group_->name).dump());
  std::vector<Json> all;
  for (int64_t rank = 0; rank < count(); ++rank) all.push_back(Json::parse(store->get_to_str(fmt::format("options/{}", rank))));
  store->set(fmt::format("compared/{}", place_.rank), "");
  for (int64_t rank = 0; rank < count() && place_.hosts; ++rank) store->get(fmt::format("compared/{}", rank));  // the place goes with its host
  for (int64_t rank = 1; rank < count(); ++rank) {  // each compares all, so that all end with the same words
    const Json &wanted = all[0], &got = all[static_cast<size_t>(rank)];
    for (const auto& [name, value] : wanted.items())
      if (got.value(name, Json()) != value)
        throw_user_error({.where = "train",
                          .problem = fmt::format("rank {} has another `{}` than rank 0", rank, name.substr(1)),
                          .wanted = value.dump(),
                          .got = got.value(name, Json()).dump(),
                          .hint = "All ranks need one configuration"});
  }
}

Ranks::Share Ranks::share(const std::string& what, int64_t size) const {
  if (size % count() != 0)
    throw_user_error({.where = "train",
                      .problem = fmt::format("`{}` cannot be shared evenly between {} ranks", what, count()),
                      .wanted = fmt::format("a multiple of {}", count()),
                      .got = std::to_string(size)});
  const int64_t each = size / count();
  return {each * place_.rank, each * (place_.rank + 1)};
}

Tensor Ranks::carried(const std::vector<double>& values) const {
  const Tensor tensor = at::tensor(values, at::kDouble);
  return group_->name == "nccl" ? tensor.to(device_) : tensor;
}

void Ranks::average(std::vector<double>& values) {
  if (!group_ || values.empty()) return;
  Tensor sum = carried(values);
  group_->wait(group_->sum(sum));
  sum = sum.div(static_cast<double>(count())).cpu();
  values.assign(sum.const_data_ptr<double>(), sum.const_data_ptr<double>() + sum.numel());
}

void Ranks::average(Tensor& tensor) {
  if (!group_ || !tensor.defined()) return;
  const Tensor sum = (group_->name == "nccl" ? tensor.to(device_) : tensor).contiguous().clone();
  group_->wait(group_->sum(sum));
  tensor = sum.div_(static_cast<double>(count())).to(tensor.device());
}

void Ranks::meet() { any(false); }

bool Ranks::any(bool here) {
  std::vector<double> share = {here ? 1.0 : 0.0};
  average(share);
  return share[0] > 0;
}

double Ranks::of_first(double here) {
  std::vector<double> value = {first() ? here * static_cast<double>(count()) : 0.0};
  if (!group_) return here;
  average(value);
  return value[0];
}

int64_t Ranks::start_alike(const std::vector<Tensor>& state, int64_t step) {
  if (!group_) return step;
  const at::NoGradGuard no_grad;
  for (const Tensor& tensor : state) {
    std::vector<Tensor> copied = {tensor.to(group_->name == "nccl" ? device_ : tensor.device()).contiguous()};
    group_->wait(group_->with_others([&] { return group_->backend->broadcast(copied); }));
    if (!first() && !copied[0].is_same(tensor)) Tensor(tensor).copy_(copied[0]);
  }
  return static_cast<int64_t>(of_first(static_cast<double>(step)));
}

std::function<void()> Ranks::start_sum(const Tensor& flat) {
  return [group = group_.get(), work = group_->sum(flat)] { group->wait(work); };
}

}  // namespace resflow::train
