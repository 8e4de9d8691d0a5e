#include "resflow/download/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>
#include <vector>

#include "resflow/core/error.h"

namespace resflow::download {
namespace {

std::string digest_of(const std::filesystem::path& file, const EVP_MD* kind, const std::string& before) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (context == nullptr || EVP_DigestInit_ex(context.get(), kind, nullptr) != 1) throw std::runtime_error("no message digest from OpenSSL");
  EVP_DigestUpdate(context.get(), before.data(), before.size());
  std::ifstream in(file, std::ios::binary);
  std::vector<char> block(1 << 20);
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0)
    EVP_DigestUpdate(context.get(), block.data(), static_cast<size_t>(in.gcount()));
  if (!in.eof()) throw_user_error({.where = file.string(), .problem = "cannot be read"});
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int count = 0;
  EVP_DigestFinal_ex(context.get(), bytes.data(), &count);
  std::string out;
  for (unsigned int i = 0; i < count; ++i) out += fmt::format("{:02x}", bytes[i]);
  return out;
}

}  // namespace

std::string sha256_of(const std::filesystem::path& file) { return digest_of(file, EVP_sha256(), ""); }

std::string git_blob_of(const std::filesystem::path& file) {
  std::error_code ignored;
  return digest_of(file, EVP_sha1(), fmt::format("blob {}", std::filesystem::file_size(file, ignored)) + '\0');
}

}  // namespace resflow::download
