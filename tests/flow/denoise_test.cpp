#include "resflow/flow/denoise.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "resflow/core/rng.h"
#include "resflow/flow/schedule.h"

using namespace resflow;
using namespace resflow::flow;

TEST_CASE("the clean estimate undoes the path at any level") {
  const auto x0 = normal_like_shape(Stream(1, "x0"), {1, 3, 4, 4}), start = normal_like_shape(Stream(1, "start"), {1, 3, 4, 4});
  for (const double sigma : {1.0, 0.7, 0.1}) CHECK(at::allclose(predict_x0((1 - sigma) * x0 + sigma * start, start - x0, sigma), x0, 1e-4, 1e-5));
}

TEST_CASE("the last euler step ends at the clean estimate") {
  const auto z = normal_like_shape(Stream(1, "z"), {1, 3, 4, 4});
  const VelocityFn velocity = [](const Tensor& at_z, double sigma) { return at_z.cos() * sigma; };
  const auto end = denoise(velocity, z, std::vector<double>{0.3, 0}, *samplers().make("euler"));
  CHECK(at::allclose(end, predict_x0(z, velocity(z, 0.3), 0.3), 0, 1e-7));
}

TEST_CASE("a denoise reports every step once, in order, and visits the levels it was given") {
  std::vector<double> visited;
  std::vector<int64_t> done;
  const VelocityFn velocity = [&](const Tensor& z, double sigma) {
    visited.push_back(sigma);
    return z;
  };
  const Job job{.on_progress = [&](const Progress& progress) {
    CHECK(progress.stage == "denoise");
    CHECK(progress.of == 4);
    done.push_back(progress.done);
  }};
  denoise(velocity, at::ones({1}), linear_sigmas(4), *samplers().make("euler"), job);
  CHECK(done == std::vector<int64_t>{1, 2, 3, 4});
  CHECK(visited == std::vector<double>{1, 0.75, 0.5, 0.25});
}

TEST_CASE("a stop that is asked for ends the denoise before the next step") {
  int calls = 0;
  const VelocityFn velocity = [&](const Tensor& z, double) {
    ++calls;
    return z;
  };
  std::stop_source stop;
  const Job job{.on_progress =
                    [&](const Progress& progress) {
                      if (progress.done == 2) stop.request_stop();
                    },
                .stop = stop.get_token()};
  CHECK_THROWS_AS(denoise(velocity, at::ones({1}), linear_sigmas(5), *samplers().make("euler"), job), Cancelled);
  CHECK(calls == 2);
  CHECK_THROWS_AS(denoise(velocity, at::ones({1}), linear_sigmas(5), *samplers().make("euler"), job), Cancelled);
  CHECK(calls == 2);
}

TEST_CASE("no step at all gives the sample back") {
  const VelocityFn velocity = [](const Tensor&, double) -> Tensor { throw std::logic_error("not to be called"); };
  const auto z = at::ones({2});
  CHECK(at::equal(denoise(velocity, z, std::vector<double>{0.5}, *samplers().make("euler")), z));
}
