#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "messages/error.hpp"

namespace caged {

/// One member of an etcd cluster, where it serves clients.
struct etcd_endpoint {
  std::string host; ///< a name or a numeric address, without brackets
  std::uint16_t port = 2379;

  std::string text() const; ///< "a:2379", "[::1]:2379"
};

/// How to reach an etcd, and where in it a fleet's records are.
struct etcd_options {
  std::vector<etcd_endpoint> endpoints;
  /// The keys are /PREFIX/data/KEY; /PREFIX/commits/ is the store's own.
  std::string prefix = "caged";

  bool tls = false;
  std::filesystem::path ca_file; ///< PEM; empty: the system's authorities
  /// PEM chain of this client; empty: none. Its subject must have no common
  /// name where etcd has users: the JSON gateway refuses it otherwise.
  std::filesystem::path cert_file;
  std::filesystem::path key_file; ///< its key, mode 0600

  std::string user;                    ///< empty: etcd without users
  std::filesystem::path password_file; ///< mode 0600; one newline may end it

  /// For one member to answer, and for all of them together.
  std::chrono::milliseconds call_timeout{1000}, total_timeout{5000};
};

/// "etcd://a:2379,b:2379/prefix", "etcds://..." with TLS. The port may be left
/// out (2379), and the prefix (caged). Errors: bad_request, one sentence.
result<etcd_options> parse_store_url(std::string_view url);

/// Whether these options may be used: the files are there and nobody else's to
/// read, and off loopback there are TLS, a user and a password (DESIGN.md,
/// section 9). Errors: bad_request, denied, io, each naming the option.
result<void> check_options(const etcd_options& options);

namespace etcd {

/// What stands in a file that only its owner may read. Errors: denied, io.
result<std::string> read_secret(const std::filesystem::path& file,
                                const std::string& what);

} // namespace etcd

} // namespace caged
