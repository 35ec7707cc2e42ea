#include "nodes/etcd/options.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages/loopback.hpp"
#include "messages/text.hpp"

namespace caged {

namespace {

constexpr const char* form = "write etcd://HOST:PORT,HOST:PORT/PREFIX, with "
                             "etcds:// for TLS";
constexpr std::size_t most_endpoints = 16, most_prefix = 128;
/// etcd hashes at most 72 bytes of a password (bcrypt); a file of this size is
/// something else.
constexpr std::size_t most_secret = 4096;

tl::unexpected<failure> bad(std::string_view url, const std::string& why,
                            const std::string& hint = form) {
  return fail(ec::bad_request, "the store " + caged::quoted(url) + " " + why,
              hint);
}

bool is_host(std::string_view text) {
  return !text.empty() && text.size() <= 253
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                     || (c >= '0' && c <= '9') || c == '-' || c == '.'
                     || c == '_';
            });
}

bool is_address_6(std::string_view text) {
  return text.size() >= 2 && text.size() <= 64
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')
                     || (c >= '0' && c <= '9') || c == ':' || c == '.';
            });
}

result<etcd_endpoint> parse_endpoint(std::string_view url,
                                     std::string_view text) {
  etcd_endpoint out;
  std::string_view port;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == text.npos || !is_address_6(text.substr(1, close - 1)))
      return bad(url, "has a bad IPv6 address in " + caged::quoted(text),
                 "write it as [::1]:2379");
    out.host = text.substr(1, close - 1);
    port = text.substr(close + 1);
  } else {
    const auto colon = std::min(text.find(':'), text.size());
    out.host = text.substr(0, colon);
    port = text.substr(colon);
    if (out.host.empty())
      return bad(url, "names no host in " + caged::quoted(text));
    if (!is_host(out.host))
      return bad(url, "has a bad host, " + caged::quoted(out.host),
                 "letters, digits, - and . make a host");
  }
  if (port.empty())
    return out;
  port.remove_prefix(1);
  const auto* end = port.data() + port.size();
  const auto read = std::from_chars(port.data(), end, out.port);
  if (read.ec != std::errc{} || read.ptr != end || out.port == 0)
    return bad(url, "has a bad port in " + caged::quoted(text),
               "a port is a number from 1 to 65535");
  return out;
}

bool is_prefix(std::string_view text) {
  return !text.empty() && text.size() <= most_prefix && text.front() != '/'
         && text.back() != '/' && text.find("//") == text.npos
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                     || (c >= '0' && c <= '9') || c == '-' || c == '.'
                     || c == '_' || c == '/';
            });
}

} // namespace

std::string etcd_endpoint::text() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

result<etcd_options> parse_store_url(std::string_view url) {
  etcd_options out;
  std::string_view rest;
  if (url.starts_with("etcds://")) {
    out.tls = true;
    rest = url.substr(8);
  } else if (url.starts_with("etcd://")) {
    rest = url.substr(7);
  } else {
    return bad(url, "is no store that caged knows",
               std::string{form} + ", or sqlite");
  }
  if (rest.find('@') != rest.npos) // the text of it is not repeated
    return fail(ec::bad_request,
                "the store's URL has a user or password in it, which others "
                "see in the list of processes",
                "give the user apart and the password in a file");
  const auto slash = std::min(rest.find('/'), rest.size());
  auto hosts = rest.substr(0, slash);
  if (slash < rest.size()) {
    auto prefix = rest.substr(slash + 1);
    if (prefix.ends_with('/'))
      prefix.remove_suffix(1);
    if (!prefix.empty()) {
      if (!is_prefix(prefix))
        return bad(url, "has a bad prefix, " + caged::quoted(prefix),
                   "a prefix has at most " + std::to_string(most_prefix)
                       + " letters, digits, - _ . and single / inside");
      out.prefix = prefix;
    }
  }
  if (hosts.empty())
    return bad(url, "names no host");
  while (true) {
    const auto comma = std::min(hosts.find(','), hosts.size());
    auto one = parse_endpoint(url, hosts.substr(0, comma));
    if (!one)
      return tl::unexpected<failure>(one.error());
    if (out.endpoints.size() == most_endpoints)
      return bad(url,
                 "names more than " + std::to_string(most_endpoints) + " hosts",
                 "a few members are enough to find the others' data");
    out.endpoints.push_back(std::move(*one));
    if (comma == hosts.size())
      return out;
    hosts.remove_prefix(comma + 1);
  }
}

result<std::string> etcd::read_secret(const std::filesystem::path& file,
                                      const std::string& what) {
  const std::string name = what + " " + file.string();
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return fail_errno(ec::io, name + " cannot be read", errno);
  struct closer {
    int fd;
    ~closer() { ::close(fd); }
  } close_it{fd};
  struct stat about {};
  if (::fstat(fd, &about) != 0)
    return fail_errno(ec::io, name + " cannot be read", errno);
  if (!S_ISREG(about.st_mode))
    return fail(ec::denied, name + " is no regular file", "name a file");
  if ((about.st_mode & 077U) != 0)
    return fail(ec::denied, name + " can be read by others",
                "chmod 600 " + file.string());
  std::array<char, most_secret + 1> bytes{};
  const auto size = ::read(fd, bytes.data(), bytes.size());
  if (size < 0)
    return fail_errno(ec::io, name + " cannot be read", errno);
  std::string out{bytes.data(), static_cast<std::size_t>(size)};
  return out;
}

result<void> check_options(const etcd_options& options) {
  if (options.endpoints.empty())
    return fail(ec::bad_request, "the etcd store has no endpoint", form);
  if (options.user.empty() != options.password_file.empty())
    return fail(ec::bad_request,
                "the etcd store's user and its password file are given "
                "together or not at all");
  if (options.cert_file.empty() != options.key_file.empty())
    return fail(ec::bad_request,
                "the etcd store's client certificate and its key are given "
                "together or not at all");
  if (!options.tls && !(options.ca_file.empty() && options.cert_file.empty()))
    return fail(ec::bad_request,
                "certificates for the etcd store mean nothing without TLS",
                "write etcds:// instead of etcd://");
  for (const auto& one : options.endpoints) {
    if (is_loopback_authority(one.text()))
      continue;
    if (!options.tls)
      return fail(ec::denied,
                  "the etcd at " + one.text()
                      + " is on another host, and whoever can write to it is "
                        "root of the fleet: it needs TLS",
                  "write etcds:// and give the authority's certificate");
    if (options.user.empty())
      return fail(ec::denied,
                  "the etcd at " + one.text()
                      + " is on another host, and whoever can write to it is "
                        "root of the fleet: it needs a user and a password",
                  "make a user with etcdctl and give it with a password file");
  }
  if (!options.password_file.empty()) {
    auto secret =
        etcd::read_secret(options.password_file, "the etcd password file");
    if (!secret)
      return tl::unexpected<failure>(secret.error());
    if (secret->empty() || *secret == "\n")
      return fail(ec::bad_request,
                  "the etcd password file " + options.password_file.string()
                      + " is empty",
                  "write the password into it");
    if (secret->size() > most_secret)
      return fail(ec::bad_request,
                  "the etcd password file " + options.password_file.string()
                      + " has more than " + std::to_string(most_secret)
                      + " bytes",
                  "write only the password into it");
  }
  if (!options.key_file.empty())
    if (auto key = etcd::read_secret(options.key_file, "the etcd client key");
        !key)
      return tl::unexpected<failure>(key.error());
  return {};
}

} // namespace caged
