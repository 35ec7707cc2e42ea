#pragma once

#include <string>
#include <vector>

#include "messages/curve_key.hpp"

/// Where a node listens and how one is known there.
namespace caged::cli {

inline constexpr const char* default_endpoint = "ipc:///run/caged/node.sock";

/// "ipc://PATH", or "tcp://HOST:PORT" with the key of the node there.
struct endpoint {
  std::string where;
  std::string server_key; ///< Z85; tcp alone
  bool is_tcp() const { return where.starts_with("tcp://"); }
};

/// The nodes of a fleet: any of them will do, the first that answers is taken.
struct node_address {
  std::vector<endpoint> endpoints;
  key_pair key;         ///< ours, for tcp
  std::string key_path; ///< where it was read

  node_address() = default;
  node_address(std::string where) // NOLINT: an address is mostly no more
      : endpoints{{std::move(where), {}}} {}
  node_address(const char* where) // NOLINT
      : node_address{std::string{where}} {}

  /// "tcp://a:7400,tcp://b:7400"
  std::string text() const {
    std::string out;
    for (const auto& each : endpoints)
      out += (out.empty() ? "" : ",") + each.where;
    return out;
  }
  /// As CAGED_SERVER_KEY takes them; empty without tcp.
  std::string server_keys() const {
    std::string out;
    for (const auto& each : endpoints)
      if (!each.server_key.empty())
        out += (out.empty() ? "" : ",") + each.server_key;
    return out;
  }
};

} // namespace caged::cli
