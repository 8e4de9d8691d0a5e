#include "resflow/weights/load.h"
#include "resflow/weights/safetensors.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include "resflow/core/error.h"

using namespace resflow;

namespace {

struct Layer : nn::Module {
  Layer(Module& parent, const std::string& name, int64_t width) : Module(parent, name) {
    declare("weight", weight, {width, 2});
    declare("bias", bias, {width});
  }
  Tensor weight, bias;
};

struct Model : nn::Module {
  Layer first{*this, "blocks.0", 3};
  Layer out{*this, "proj_out", 4};
};

std::vector<std::pair<std::string, Tensor>> good_tensors(const std::string& prefix = "") {
  return {{prefix + "blocks.0.weight", at::arange(6, at::kFloat).reshape({3, 2})},
          {prefix + "blocks.0.bias", at::arange(3, at::kFloat)},
          {prefix + "proj_out.weight", at::arange(8, at::kFloat).reshape({4, 2})},
          {prefix + "proj_out.bias", at::arange(4, at::kFloat)}};
}

weights::TensorFile file_with(const std::vector<std::pair<std::string, Tensor>>& tensors) {
  const auto path = std::filesystem::temp_directory_path() / ("resflow-load-" + std::to_string(::getpid()) + ".safetensors");
  weights::write_safetensors(path, tensors);
  auto file = weights::TensorFile::open(path);
  std::filesystem::remove(path);  // the mapping keeps the bytes
  return file;
}

std::string error_of(const std::vector<std::pair<std::string, Tensor>>& tensors, const std::string& prefix = "") {
  Model model;
  try {
    weights::load_strict(model, file_with(tensors), prefix);
  } catch (const UserError& error) {
    for (const auto& parameter : model.named_parameters()) CHECK(!parameter.slot->defined());
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("strict loading fills every slot by its name") {
  Model model;
  weights::load_strict(model, file_with(good_tensors()));
  CHECK(at::equal(model.first.weight, at::arange(6, at::kFloat).reshape({3, 2})));
  CHECK(at::equal(model.out.bias, at::arange(4, at::kFloat)));
}

TEST_CASE("a prefix picks one model of a file that holds several") {
  auto tensors = good_tensors("flow.");
  for (auto& t : good_tensors("dr.")) tensors.emplace_back(t.first, t.second + 100);
  Model model;
  weights::load_strict(model, file_with(tensors), "dr.");
  CHECK(model.out.bias[1].item<float>() == 101);
}

TEST_CASE("a missing and an unexpected tensor are named, and nothing is loaded") {
  auto tensors = good_tensors();
  tensors[1].first = "blocks.0.biass";
  const auto text = error_of(tensors);
  CHECK_MESSAGE(has(text, "1 missing: blocks.0.bias; 1 unexpected: blocks.0.biass"), text);
}

TEST_CASE("of many unexpected tensors the first five are named") {
  auto tensors = good_tensors();
  for (int i = 0; i < 7; ++i) tensors.emplace_back("more." + std::to_string(i), at::ones({1}));
  const auto text = error_of(tensors);
  CHECK_MESSAGE(has(text, "7 unexpected: more.0, more.1, more.2, more.3, more.4, ..."), text);
}

TEST_CASE("a wrong shape says what each side has, and nothing is loaded") {
  auto tensors = good_tensors();
  tensors[3].second = at::ones({9});
  const auto text = error_of(tensors);
  CHECK_MESSAGE(has(text, "tensor 'proj_out.bias': model expects [4], file has [9]"), text);
  CHECK(has(error_of({{"p.proj_out.bias", at::ones({9})}}, "p."), "'p.proj_out.bias'"));
}

TEST_CASE("bind loads what there is and reports the rest") {
  auto tensors = good_tensors();
  tensors.erase(tensors.begin());
  tensors.emplace_back("extra", at::ones({1}));
  Model model;
  const auto report = weights::bind(model, file_with(tensors));
  CHECK(report.missing == std::vector<std::string>{"blocks.0.weight"});
  CHECK(report.unexpected == std::vector<std::string>{"extra"});
  CHECK(!model.first.weight.defined());
  CHECK(model.out.weight.defined());
}

TEST_CASE("loading converts the type where asked, and keeps it otherwise") {
  auto tensors = good_tensors();
  for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kHalf);
  Model as_stored, as_float;
  weights::load_strict(as_stored, file_with(tensors));
  weights::load_strict(as_float, file_with(tensors), "", {.dtype = at::kFloat, .device = c10::Device(at::kCPU)});
  CHECK(as_stored.out.weight.dtype() == at::kHalf);
  CHECK(as_float.out.weight.dtype() == at::kFloat);
  CHECK(as_float.out.weight[3][1].item<float>() == 7);
}

TEST_CASE("a slot that required a gradient requires it after loading") {
  Model model;
  weights::load_strict(model, file_with(good_tensors()));
  CHECK(!model.out.weight.requires_grad());
  model.requires_grad(true);
  weights::load_strict(model, file_with(good_tensors()));
  CHECK(model.out.weight.requires_grad());
}

TEST_CASE("the state of a module, written and read, is the same module") {
  Model a, b;
  weights::load_strict(a, file_with(good_tensors()));
  a.first.bias.add_(0.5);  // an in-place change of a loaded weight is allowed
  weights::load_strict(b, file_with(weights::state_of(a, "m.")), "m.");
  CHECK(at::equal(a.first.bias, b.first.bias));
  CHECK(weights::state_of(b).size() == 4);
  CHECK(weights::state_of(b)[0].first == "blocks.0.weight");
}
