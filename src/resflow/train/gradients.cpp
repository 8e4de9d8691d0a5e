#include "resflow/train/gradients.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include <exception>
#include <thread>

namespace resflow::train {
namespace {

struct Part {
  std::vector<Tensor> gradients;
  Loss loss;
  std::exception_ptr failure;
};

void differentiate_part(const Objective& objective, const std::vector<Tensor>& parameters, const Batch& part, int64_t first_index, bool bf16,
                        const GradientSink& sink, Part& out) {
  try {
    at::AutoGradMode with_gradients(true);
    const auto device = part.clean.device().type();
    if (bf16) {
      at::autocast::set_autocast_dtype(device, at::kBFloat16);
      at::autocast::set_autocast_enabled(device, true);
    }
    out.loss = objective.loss(part, first_index);
    if (bf16) {
      at::autocast::set_autocast_enabled(device, false);
      at::autocast::clear_cache();
    }
    out.gradients = differentiate(out.loss.total, parameters, sink);
  } catch (...) {
    out.failure = std::current_exception();
  }
}

// The total and the terms: fetched at once, for each fetch waits for the device.
std::vector<double> values(const Loss& loss) {
  std::vector<Tensor> all = {loss.total.detach().to(at::kDouble)};
  for (const auto& [name, term] : loss.terms) all.push_back(term.to(loss.total.device(), at::kDouble));
  const Tensor fetched = at::stack(all).cpu();
  return {fetched.data_ptr<double>(), fetched.data_ptr<double>() + fetched.numel()};
}

}  // namespace

Gradients compute_gradients(const Objective& objective, const std::vector<Tensor>& parameters, const Batch& batch, int64_t first_index,
                            int64_t workers, bool bf16, const GradientSink& sink) {
  const int64_t count = batch.clean.size(0);
  workers = std::min(workers, count);
  std::vector<Part> parts(static_cast<size_t>(workers));
  std::vector<int64_t> starts;
  for (int64_t w = 0; w <= workers; ++w) starts.push_back(count * w / workers);
  {
    std::vector<std::jthread> threads;
    for (int64_t w = workers - 1; w >= 0; --w) {
      const auto from = starts[static_cast<size_t>(w)], to = starts[static_cast<size_t>(w) + 1];
      const Batch part = batch.part(from, to);
      const auto run = [&, w, part, from] {
        differentiate_part(objective, parameters, part, first_index + from, bf16, workers == 1 ? sink : GradientSink(),
                           parts[static_cast<size_t>(w)]);
      };
      if (w == 0) {
        run();
      } else {
        threads.emplace_back([run] {
          at::set_num_threads(1);
          run();
        });
      }
    }
  }
  Gradients out;
  for (int64_t w = 0; w < workers; ++w) {  // in a fixed order: the sum is the same in every run
    Part& part = parts[static_cast<size_t>(w)];
    if (part.failure != nullptr) std::rethrow_exception(part.failure);
    const double share = static_cast<double>(starts[static_cast<size_t>(w) + 1] - starts[static_cast<size_t>(w)]) / static_cast<double>(count);
    const auto numbers = values(part.loss);
    out.loss += share * numbers[0];
    for (size_t i = 0; i < part.loss.terms.size(); ++i) {
      if (w == 0) out.terms.emplace_back(part.loss.terms[i].first, 0);
      out.terms[i].second += share * numbers[i + 1];
    }
    if (part.loss.pattern.defined()) out.pattern = out.pattern.defined() ? out.pattern + share * part.loss.pattern : share * part.loss.pattern;
    for (size_t i = 0; i < part.gradients.size(); ++i) {
      if (w == 0) {
        out.values.push_back(workers == 1 ? part.gradients[i] : part.gradients[i] * share);
      } else {
        out.values[i].add_(part.gradients[i], share);
      }
    }
  }
  return out;
}

}  // namespace resflow::train
