// Files built by hand, byte by byte: one for each defect a file can have.
#include "resflow/weights/safetensors.h"
#include "resflow/weights/tensor_file.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>

#include "resflow/core/error.h"
#include "resflow/core/files.h"

using namespace resflow;
using weights::TensorFile;
using weights::write_safetensors;

namespace {

// A folder of its own, gone at the end.
struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("resflow-safetensors-" + std::to_string(::getpid()));
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path put(const std::string& bytes) const {
    write_text_atomically(path / "x.safetensors", bytes);
    return path / "x.safetensors";
  }
};

std::string file_of(const std::string& header, size_t data_bytes, std::optional<uint64_t> length = {}) {
  const uint64_t n = length.value_or(header.size());
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &n, 8);
  return bytes + header + std::string(data_bytes, '\1');
}

// The message, or "" where the file opened.
std::string error_of(const std::string& bytes) {
  const Folder folder;
  try {
    TensorFile::open(folder.put(bytes));
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"x":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a good hand-built file opens, so the defects below are what is refused") {
  CHECK(error_of(file_of(one(R"("F32")", "[2,3]", "[0,24]"), 24)).empty());
  CHECK(error_of(file_of("{}      ", 0)).empty());
  CHECK(error_of(file_of(R"({"__metadata__":{"a":"b"}})", 0)).empty());
}

TEST_CASE("each defect of a header has its own message") {
  struct Case {
    const char* what;
    std::string bytes, message;
  };
  const std::string f32 = R"("F32")";
  const std::string good = one(f32, "[2]", "[0,8]");
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a + R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  const Case cases[] = {
      {"a file shorter than a header", "abc", "too short for a header: wanted 10 bytes or more, got 3. Perhaps an incomplete download?"},
      {"a header longer than the file", file_of(good, 8, 4000), "the header ends past the file"},
      {"an absurd header length", file_of(good, 8, ~0ULL), "bad header length"},
      {"the largest header length that is not absurd", file_of(good, 8, 100'000'000), "the header ends past the file"},
      {"a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
      {"a plain pickle", "\x80\x04" + std::string(60, 'x'), "plain Python pickle"},
      {"a header that is no object", file_of("[1,2,3]", 0), "wanted a JSON object"},
      {"a header that is no JSON", file_of(R"({"x":)", 0), "is not JSON"},
      {"bytes after the JSON", file_of("{}x", 0), "is not JSON"},
      {"text that is not UTF-8", file_of("{\"\xff\":1}", 0), "is not JSON"},
      {"deep nesting", file_of("{\"x\":" + std::string(5000, '[') + std::string(5000, ']') + "}", 0), "nested too deeply"},
      {"a tensor twice", file_of(R"({"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0),
       "names 'x' twice"},
      {"a field twice", file_of(R"({"x":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0), "names 'dtype' twice"},
      {"an entry that is no object", file_of(R"({"x":3})", 0), "tensor 'x': bad entry: wanted a JSON object, got number"},
      {"an entry without a shape", file_of(R"({"x":{"dtype":"U8","data_offsets":[0,0]}})", 0), "tensor 'x': incomplete entry"},
      {"an unknown type", file_of(one(R"("F33")", "[2]", "[0,8]"), 8), "unknown dtype: wanted one of F64 F32"},
      {"a type that is no text", file_of(one("7", "[2]", "[0,8]"), 8), "unknown dtype"},
      {"a negative size", file_of(one(f32, "[-2]", "[0,8]"), 8), "bad shape: wanted a list of sizes, each 0 or more, got [-2]"},
      {"a fractional size", file_of(one(f32, "[2.5]", "[0,8]"), 8), "bad shape"},
      {"a size above 2^63", file_of(one(f32, "[18446744073709551615]", "[0,8]"), 8), "bad shape"},
      {"a shape that is no list", file_of(one(f32, "2", "[0,8]"), 8), "bad shape"},
      {"a product that overflows to the right size", file_of(one(f32, "[4294967296,4294967296,2]", "[0,0]"), 0), "its shape is too large"},
      {"an overflow hidden behind a zero", file_of(one(f32, "[0,9223372036854775807,4]", "[0,0]"), 0), "its shape is too large"},
      {"one offset", file_of(one(f32, "[2]", "[0]"), 8), "bad data_offsets"},
      {"a negative offset", file_of(one(f32, "[2]", "[-8,0]"), 8), "bad data_offsets"},
      {"offsets out of order", file_of(one(f32, "[2]", "[8,0]"), 8), "out of order"},
      {"data cut short", file_of(good, 7),
       "tensor 'x': offsets end past the file: wanted at most 7 bytes after the header, got 8. Perhaps an incomplete"},
      {"offsets that do not match the shape", file_of(one(f32, "[2]", "[0,4]"), 4), "do not match its shape: wanted 8 bytes for F32 [2], got 4"},
      {"an overlap", file_of(two("[0,4]", "[2,6]"), 6), "tensor 'b': overlaps another: wanted begin at 4, got 2"},
      {"a hole", file_of(two("[0,4]", "[6,10]"), 10), "tensor 'b': unused bytes before it: wanted begin at 4, got 6"},
      {"a hole at the start", file_of(one(f32, "[2]", "[4,12]"), 12), "unused bytes before it"},
      {"bytes after the last tensor", file_of(good, 9), "unused bytes after the last tensor: wanted 8 bytes of data, got 9"},
      {"metadata that is no object", file_of(R"({"__metadata__":[]})", 0), "bad __metadata__"},
      {"metadata that is no text", file_of(R"({"__metadata__":{"step":3}})", 0), "bad value of 'step': wanted a string, got number"},
  };
  for (const auto& c : cases) {
    const auto message = error_of(c.bytes);
    CHECK_MESSAGE(has(message, c.message), c.what, " -> ", message);
    CHECK_MESSAGE(message.rfind("[safetensors] ", 0) == 0, c.what);
  }
}

TEST_CASE("no prefix of a good file opens, nor does it crash") {
  const auto bytes = file_of(one(R"("F32")", "[2]", "[0,8]"), 8);
  for (size_t n = 0; n < bytes.size(); ++n) CHECK_MESSAGE(!error_of(bytes.substr(0, n)).empty(), n);
}

TEST_CASE("a good file with any one byte changed is read or refused, never worse") {
  const Folder folder;
  const auto path = folder.path / "x.safetensors";
  const auto good = file_of(R"({"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"__metadata__":{"k":"v"}})", 24);
  int read = 0, refused = 0;
  for (size_t at = 0; at < good.size() - 24; ++at)
    for (const char changed : {'\0', '"', '9', '-', '}', ',', 'e', '\xff'}) {
      auto bytes = good;
      bytes[at] = changed;
      std::ofstream(path, std::ios::binary) << bytes;
      try {
        const auto file = TensorFile::open(path);
        for (const auto& name : file.names()) CHECK(file.get(name).numel() * file.get(name).element_size() <= 24);
        ++read;
      } catch (const UserError&) {
        ++refused;
      }
    }
  CHECK(read > 0);
  CHECK(refused > 10 * read / 2);
}

TEST_CASE("a missing file, an empty one and a folder are the user's errors") {
  const Folder folder;
  CHECK(has(error_of(""), "is empty. Perhaps an incomplete download?"));
  CHECK_THROWS_AS(TensorFile::open(folder.path / "absent.safetensors"), UserError);
  CHECK_THROWS_AS(TensorFile::open(folder.path), UserError);
}

TEST_CASE("every type survives writing and reading, bit for bit") {
  const Folder folder;
  const auto path = folder.path / "all.safetensors";
  std::vector<std::pair<std::string, Tensor>> written;
  const Tensor values = at::arange(-7, 8, at::kFloat).reshape({3, 5});
  for (const auto dtype : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble,
                           at::kFloat8_e4m3fn, at::kFloat8_e5m2})
    written.emplace_back(c10::toString(dtype), values.abs().to(dtype));
  written.emplace_back("scalar", at::scalar_tensor(2.5));
  written.emplace_back("empty", at::empty({0, 4}));
  written.emplace_back("transposed", values.t());
  write_safetensors(path, written, {{"format", "pt"}, {"note", "a \"quoted\" text"}});

  const auto file = TensorFile::open(path);
  CHECK(file.names().size() == written.size());
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"note", "a \"quoted\" text"}});
  for (const auto& [name, tensor] : written) {
    REQUIRE(file.contains(name));
    const Tensor back = file.get(name);
    const std::string name_of_type = c10::toString(tensor.scalar_type());
    CHECK(std::string(c10::toString(back.scalar_type())) == name_of_type);
    CHECK(std::string(c10::toString(file.dtype(name))) == name_of_type);
    CHECK(back.sizes() == tensor.sizes());
    CHECK(file.shape(name) == tensor.sizes().vec());
    CHECK_MESSAGE(at::equal(back.to(at::kDouble), tensor.to(at::kDouble)), name);
  }
}

TEST_CASE("a tensor is a view of the file, outlives it, and can be written without changing it") {
  const Folder folder;
  const auto path = folder.path / "x.safetensors";
  write_safetensors(path, {{"x", at::ones({1024})}});
  Tensor x, again;
  {
    const auto file = TensorFile::open(path);
    x = file.get("x");
    again = file.get("x");
  }
  CHECK(x.data_ptr() == again.data_ptr());
  x.fill_(3);
  CHECK(again.sum().item<float>() == 3 * 1024);
  CHECK(TensorFile::open(path).get("x").sum().item<float>() == 1024);
}

TEST_CASE("misaligned data is copied and read right") {
  const Folder folder;
  const float values[2] = {1.5F, -2.0F};
  std::string bytes = file_of(one(R"("F32")", "[2]", "[0,8]") + " ", 0);
  while ((bytes.size() % 4) == 0) bytes = file_of(bytes.substr(8) + " ", 0);
  bytes.append(reinterpret_cast<const char*>(values), sizeof values);
  const auto file = TensorFile::open(folder.put(bytes));
  CHECK(at::equal(file.get("x"), at::tensor({1.5F, -2.0F})));
  CHECK(file.get("x").data_ptr() != file.get("x").data_ptr());
}

TEST_CASE("a BOOL of any byte but 0 is true") {
  const Folder folder;
  auto bytes = file_of(one(R"("BOOL")", "[3]", "[0,3]"), 3);
  bytes[bytes.size() - 2] = '\x80';
  bytes[bytes.size() - 1] = '\0';
  CHECK(at::equal(TensorFile::open(folder.put(bytes)).get("x"), at::tensor({1, 1, 0}).to(at::kBool)));
}

TEST_CASE("the data of a written file begin at a multiple of 8 and each tensor at a multiple of its element") {
  const Folder folder;
  const auto path = folder.path / "x.safetensors";
  write_safetensors(path, {{"b", at::ones({3}, at::kByte)}, {"d", at::ones({1}, at::kDouble)}, {"h", at::ones({3}, at::kHalf)}});
  const auto bytes = read_text(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
  CHECK(TensorFile::open(path).names() == std::vector<std::string>{"d", "h", "b"});
}

TEST_CASE("the same tensors give the same bytes") {
  const Folder folder;
  const std::vector<std::pair<std::string, Tensor>> tensors = {{"z", at::ones({2})}, {"a", at::zeros({3})}};
  write_safetensors(folder.path / "1", tensors, {{"k", "v"}});
  write_safetensors(folder.path / "2", tensors, {{"k", "v"}});
  CHECK(read_text(folder.path / "1") == read_text(folder.path / "2"));
}

TEST_CASE("a name that is not there is named together with its nearest") {
  const Folder folder;
  write_safetensors(folder.path / "x", {{"proj_out.weight", at::ones({2})}});
  const auto file = TensorFile::open(folder.path / "x");
  CHECK(!file.contains("proj_out.wieght"));
  try {
    file.get("proj_out.wieght");
    FAIL("nothing thrown");
  } catch (const UserError& error) {
    CHECK(has(error.what(), "no tensor 'proj_out.wieght'. Did you mean 'proj_out.weight'?"));
  }
}

TEST_CASE("an unwritable target is the user's error and leaves nothing behind") {
  const Folder folder;
  CHECK_THROWS_AS(write_safetensors(folder.path / "absent" / "x", {{"x", at::ones({2})}}), UserError);
  std::filesystem::create_directories(folder.path / "taken" / "inside");
  CHECK_THROWS_AS(write_safetensors(folder.path / "taken", {{"x", at::ones({2})}}), UserError);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}

TEST_CASE("a disk that fills up while writing is the user's error, and the old file stays whole") {
  const Folder folder;
  const auto path = folder.path / "x";
  write_safetensors(path, {{"x", at::ones({2})}});
  // A limit on file sizes cuts a write short as a full disk does.
  rlimit before{}, tight{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  tight = before;
  tight.rlim_cur = 65536;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
  CHECK_THROWS_AS(write_safetensors(path, {{"x", at::ones({1 << 20})}}), UserError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  CHECK(TensorFile::open(path).shape("x") == std::vector<int64_t>{2});
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}
