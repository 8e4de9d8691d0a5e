#include "resflow/eval/runner.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "resflow/core/error.h"
#include "resflow/core/rng.h"
#include "resflow/image/codec.h"

using namespace resflow;
using eval::evaluate;
namespace fs = std::filesystem;

namespace {

// A folder of its own, removed at the end.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("resflow_eval_" + std::to_string(getpid()));
  Folder() {
    fs::remove_all(path);
    fs::create_directories(path / "pred");
    fs::create_directories(path / "ref");
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
};

// Textured around the grey level `value`.
void write(const std::string& path, double value, int64_t height = 32, int64_t width = 40) {
  const auto noise = normal_like_shape(Stream(1, "texture"), {3, height, width});
  image::write_picture(path, {.pixels = (value + 0.05 * noise).clamp(0, 1)});
}

}  // namespace

TEST_CASE("files are paired by name without extension, and means are over the pictures") {
  const Folder folder;
  for (const std::string name : {"a", "b.c"}) write(folder / ("ref/" + name + ".png"), 0.4);
  write(folder / "pred/a.png", 0.4);
  write(folder / "pred/b.c.tiff", 0.6);
  const auto report = evaluate({.pred = folder / "pred", .ref = folder / "ref", .metrics = {"psnr", "ssim"}});
  REQUIRE(report.rows.size() == 2);
  CHECK(report.rows[0].name == "a");
  CHECK(report.rows[1].name == "b.c");
  CHECK(report.rows[0].scores.at("psnr") == doctest::Approx(138.13).epsilon(1e-4));
  CHECK(report.rows[0].scores.at("ssim") == doctest::Approx(1));
  CHECK(report.rows[1].scores.at("psnr") == doctest::Approx(20 * std::log10(255 / (219 * 0.2))).epsilon(1e-2));
  CHECK(*report.mean("psnr") == doctest::Approx((report.rows[0].scores.at("psnr") + report.rows[1].scores.at("psnr")) / 2));

  const auto json = report.to_json();
  CHECK(json["count"] == 2);
  CHECK(json["options"]["metrics"] == Json({"psnr", "ssim"}));
  CHECK(json["files"][1]["name"] == "b.c");
  CHECK(json["mean"]["ssim"].get<double>() == doctest::Approx(*report.mean("ssim")));
  CHECK(json["higher_is_better"]["psnr"] == true);
}

TEST_CASE("without references every metric that needs none is measured") {
  const Folder folder;
  write(folder / "pred/a.png", 0.4, 200, 200);
  const auto report = evaluate({.pred = folder / "pred"});
  CHECK(report.options.metrics == std::vector<std::string>{"niqe"});
  CHECK(report.picture_metrics() == report.options.metrics);
  CHECK(report.mean("niqe").has_value());
  CHECK_THROWS_WITH_AS(evaluate({.pred = folder / "pred", .metrics = {"psnr"}}), doctest::Contains("reference"), UserError);
}

TEST_CASE("a score that a picture is too small for is left out with its reason") {
  const Folder folder;
  write(folder / "pred/large.png", 0.4, 200, 200);
  write(folder / "pred/small.png", 0.4);
  const auto report = evaluate({.pred = folder / "pred", .metrics = {"niqe"}});
  CHECK(report.rows[1].scores.empty());
  REQUIRE(report.notes.size() == 1);
  CHECK(report.notes[0].find("small.png: no niqe") == 0);
  CHECK(report.to_json()["files"][1]["niqe"].is_null());
  CHECK(report.to_json()["scored"]["niqe"] == 1);
  CHECK(*report.mean("niqe") == report.rows[0].scores.at("niqe"));
}

TEST_CASE("two single files are compared whatever their names") {
  const Folder folder;
  write(folder / "pred/a.png", 0.4);
  write(folder / "ref/other.png", 0.4);
  CHECK(*evaluate({.pred = folder / "pred/a.png", .ref = folder / "ref/other.png", .metrics = {"ssim"}}).mean("ssim") == doctest::Approx(1));
}

TEST_CASE("what the user can mend is said with its names") {
  const Folder folder;
  write(folder / "pred/a.png", 0.4);
  write(folder / "ref/a.png", 0.4, 32, 41);
  const eval::EvalOptions options{.pred = folder / "pred", .ref = folder / "ref", .metrics = {"psnr"}};
  SUBCASE("sizes that differ") {
    CHECK_THROWS_WITH_AS(evaluate(options), doctest::Contains("41x32"), UserError);
    CHECK_THROWS_WITH_AS(evaluate(options), doctest::Contains("40x32"), UserError);
  }
  SUBCASE("a picture without a reference") {
    write(folder / "pred/lonely.png", 0.4);
    CHECK_THROWS_WITH_AS(evaluate(options), doctest::Contains("lonely.png"), UserError);
  }
  SUBCASE("a reference without a picture") {
    write(folder / "ref/unmet.png", 0.4);
    CHECK_THROWS_WITH_AS(evaluate(options), doctest::Contains("unmet.png"), UserError);
  }
  SUBCASE("two pictures of one name") {
    write(folder / "pred/a.tiff", 0.4);
    CHECK_THROWS_WITH_AS(evaluate(options), doctest::Contains("a.tiff"), UserError);
  }
  SUBCASE("a damaged picture") {
    std::ofstream(folder / "pred/a.png") << "not a picture";
    CHECK_THROWS_WITH_AS(evaluate(options), doctest::Contains("a.png"), UserError);
  }
  SUBCASE("folders that are missing or empty") {
    CHECK_THROWS_WITH_AS(evaluate({.pred = folder / "nowhere"}), doctest::Contains("nowhere"), UserError);
    fs::remove(folder / "pred/a.png");
    CHECK_THROWS_WITH_AS(evaluate(options), doctest::Contains("no pictures"), UserError);
  }
  SUBCASE("an unknown metric") {
    CHECK_THROWS_WITH_AS(evaluate({.pred = folder / "pred", .metrics = {"psrn"}}), doctest::Contains("psnr"), UserError);
  }
}

TEST_CASE("a stop is obeyed and progress is told") {
  const Folder folder;
  write(folder / "pred/a.png", 0.4);
  write(folder / "ref/a.png", 0.4);
  const eval::EvalOptions options{.pred = folder / "pred", .ref = folder / "ref", .metrics = {"psnr"}};
  std::vector<int64_t> done;
  evaluate(options, {.on_progress = [&](const Progress& p) { done.push_back(p.done * 10 + p.of); }});
  CHECK(done == std::vector<int64_t>{1, 11});
  std::stop_source source;
  source.request_stop();
  CHECK_THROWS_AS(evaluate(options, {.stop = source.get_token()}), Cancelled);
}
