#include "resflow/core/error.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <new>

#include "resflow/core/complaint.h"
#include "resflow/core/device.h"
#include "resflow/core/registry.h"

using namespace resflow;

TEST_CASE("a complaint is one sentence whose empty parts are left out") {
  const auto text = [](const Complaint& complaint) {
    try {
      throw_user_error(complaint);
    } catch (const UserError& error) {
      return std::string(error.what());
    }
  };
  CHECK(text({.where = "a.png", .problem = "too big", .wanted = "10", .got = "20", .hint = "Crop it"}) ==
        "[a.png] too big: wanted 10, got 20. Crop it");
  CHECK(text({.problem = "too big", .got = "20"}) == "too big: got 20");
  CHECK(text({.problem = "too big"}) == "too big");
}

TEST_CASE("a user's error can be taken apart again, an unknown name too") {
  const auto parts = [](const auto& action) {
    try {
      action();
    } catch (const ComplaintError& error) {
      return error.complaint;
    }
    return Complaint{};
  };
  const auto made = parts([] { throw_user_error({.where = "a.png", .problem = "too big", .wanted = "10", .got = "20", .hint = "Crop it"}); });
  CHECK(made.where == "a.png");
  CHECK(made.got == "20");
  const auto unknown = parts([] { throw_unknown_name("sampler", "eulr", {"euler", "heun"}); });
  CHECK(unknown.problem == "unknown sampler 'eulr'");
  CHECK(unknown.wanted == "one of euler, heun");
  CHECK(unknown.hint == "Did you mean 'euler'?");
}

TEST_CASE("a context is put before a user's error and leaves other exceptions and results alone") {
  CHECK_THROWS_WITH_AS(with_context("reading x", []() -> int { throw UserError("bad"); }), "reading x: bad", UserError);
  CHECK_THROWS_WITH_AS(with_context("reading x", []() -> int { throw std::logic_error("bug"); }), "bug", std::logic_error);
  CHECK(with_context("reading x", [] { return 3; }) == 3);
}

TEST_CASE("running out of memory is told with a way out, and other failures without a backtrace") {
  CHECK(readable_message(std::bad_alloc()).find("--tile") != std::string::npos);
  try {
    (void)at::empty({int64_t{1} << 46}, at::kFloat);
    FAIL("256 TB were given");
  } catch (const std::exception& error) {
    CHECK(readable_message(error).find("out of memory. Try a smaller --tile") == 0);
  }
  try {
    (void)at::matmul(at::zeros({2, 3}), at::zeros({2, 3}));
    FAIL("shapes do not fit");
  } catch (const std::exception& error) {
    CHECK(readable_message(error).find("frame #") == std::string::npos);
    CHECK(readable_message(error).find("shapes") != std::string::npos);
  }
}

TEST_CASE("devices and number types go by name, and a wrong name tells the right ones") {
  CHECK(parse_device("cpu").is_cpu());
  CHECK_THROWS_WITH_AS(parse_device("gpu"), doctest::Contains("one of auto, cpu, cuda"), UserError);
  CHECK_THROWS_AS(parse_device("cuda:99"), UserError);
  const c10::Device cpu(c10::kCPU);
  CHECK((parse_dtype("bf16", cpu) == c10::kBFloat16));
  CHECK((parse_dtype("f16", cpu) == c10::kHalf));
  CHECK((parse_dtype("auto", c10::Device(c10::kCUDA, 0)) == c10::kBFloat16));
  for (const char* name : {"f32", "bf16", "f16"}) CHECK(dtype_name(parse_dtype(name, cpu)) == name);
  CHECK_THROWS_WITH_AS(parse_dtype("fp8", cpu), doctest::Contains("one of auto, f32, bf16, f16"), UserError);
}
