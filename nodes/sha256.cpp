#include "nodes/sha256.hpp"

#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

namespace caged {

namespace {

std::string
in_hexadecimal(const std::array<unsigned char, SHA256_DIGEST_LENGTH>& digest) {
  static const char* digits = "0123456789abcdef";
  std::string out;
  for (const auto byte : digest) {
    out += digits[byte >> 4U];
    out += digits[byte & 15U];
  }
  return out;
}

} // namespace

std::string sha256(std::string_view bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
           digest.data());
  return in_hexadecimal(digest);
}

result<std::string> sha256_of_file(int fd) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&::EVP_MD_CTX_free)> running{
      ::EVP_MD_CTX_new(), ::EVP_MD_CTX_free};
  if (!running
      || ::EVP_DigestInit_ex(running.get(), ::EVP_sha256(), nullptr) != 1)
    return fail(ec::io, "SHA-256 cannot be computed");
  constexpr std::size_t block = 1024 * 1024;
  std::vector<char> buffer(block);
  for (off_t at = 0;;) {
    const auto got = ::pread(fd, buffer.data(), buffer.size(), at);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return fail_errno(ec::io, "a file cannot be read", errno);
    if (got == 0)
      break;
    ::EVP_DigestUpdate(running.get(), buffer.data(),
                       static_cast<std::size_t>(got));
    at += got;
  }
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  ::EVP_DigestFinal_ex(running.get(), digest.data(), nullptr);
  return in_hexadecimal(digest);
}

} // namespace caged
