#include "messages/key_file.hpp"

#include <cerrno>
#include <cstdio>
#include <sstream>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/curve_key.hpp"
#include "messages/sandbox.hpp"
#include "messages/text.hpp"

namespace caged {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t file_most = 4096;
constexpr mode_t secret_mode = 0600, public_mode = 0644;

std::string octal(mode_t mode) {
  char text[8] = {};
  std::snprintf(text, sizeof text, "%04o", mode & 07777U);
  return text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n";
  const auto first = text.find_first_not_of(blank);
  if (first == std::string_view::npos)
    return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

result<std::string> read_small(const fs::path& path, bool secret) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return fail_errno(errno == ENOENT ? ec::not_found : ec::io,
                      "the key file " + path.string() + " cannot be read",
                      errno);
  struct stat about {};
  std::string text(file_most + 1, '\0');
  ssize_t size = -1;
  const bool known = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
  if (known)
    size = ::read(fd, text.data(), text.size());
  ::close(fd);
  if (size < 0 || static_cast<std::size_t>(size) > file_most)
    return fail(ec::bad_request, path.string() + " is no file of a key");
  if (secret && (about.st_mode & 07777U) != secret_mode)
    return fail(ec::denied,
                "the secret key " + path.string() + " has mode "
                    + octal(about.st_mode) + ", not 0600",
                "if nobody else has read it: chmod 600 " + path.string());
  if (secret && about.st_uid != ::geteuid() && ::geteuid() != 0)
    return fail(ec::denied, "the secret key " + path.string()
                                + " belongs to somebody else");
  text.resize(static_cast<std::size_t>(size));
  return text;
}

} // namespace

std::string encode_key_file(const key_pair& keys) {
  std::string out;
  if (!keys.name.empty())
    out += "name: " + keys.name + "\n";
  out += "public-key: " + keys.public_key + "\n";
  if (!keys.secret_key.empty())
    out += "secret-key: " + keys.secret_key + "\n";
  return out;
}

result<key_pair> decode_key_file(std::string_view text) {
  key_pair out;
  std::istringstream lines{std::string{text}};
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(':');
    const auto name = trimmed(std::string_view{line}.substr(0, colon));
    if (colon == std::string::npos)
      continue;
    const std::string value{trimmed(std::string_view{line}.substr(colon + 1))};
    if (name == "name")
      out.name = value;
    else if (name == "public-key")
      out.public_key = value;
    else if (name == "secret-key")
      out.secret_key = value;
  }
  if (!z85_decode(out.public_key)
      || (!out.secret_key.empty() && !z85_decode(out.secret_key))
      || (!out.name.empty() && !is_valid_name(out.name)))
    return fail(ec::malformed, "it holds no key",
                "caged key create makes such files");
  return out;
}

result<key_pair> read_secret_key(const fs::path& path) {
  auto text = read_small(path, true);
  if (!text)
    return tl::unexpected<failure>(text.error());
  auto keys = decode_key_file(*text);
  if (!keys || keys->secret_key.empty())
    return fail(ec::malformed, path.string() + " holds no secret key",
                "name the file without .pub that caged key create made");
  return keys;
}

result<key_pair> read_public_key(const fs::path& path) {
  auto text = read_small(path, false);
  if (!text)
    return tl::unexpected<failure>(text.error());
  if (auto alone = parse_public_key(trimmed(*text)))
    return key_pair{{}, std::move(*alone), {}};
  auto keys = decode_key_file(*text);
  if (!keys)
    return fail(ec::bad_request, path.string() + " holds no public key",
                "caged key create makes such files");
  if (!keys->secret_key.empty())
    return fail(ec::bad_request, path.string() + " holds a secret key",
                "it is its owner's alone; use " + path.string() + ".pub");
  return keys;
}

result<void> write_key_pair(const fs::path& path, const key_pair& keys,
                            if_there then) {
  if (auto done =
          write_whole_file(path, encode_key_file(keys), secret_mode, then);
      !done)
    return done;
  auto visible = path;
  visible += ".pub";
  // The secret one decides: a public one beside none is nobody's.
  return write_whole_file(visible,
                          encode_key_file({keys.name, keys.public_key, {}}),
                          public_mode, if_there::replace);
}

} // namespace caged
