#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/etcd.hpp"
#include "tests/support/test_node.hpp"

namespace caged::test {

/// Several nodes on one etcd of one member, all on loopback: n1, n2, ... Each
/// keeps its port over restarts. (tests/support/cluster.hpp has hosts of their
/// own networks.)
class hosts {
public:
  /// Started, and until each knows of all. `flags` are of each node.
  explicit hosts(std::size_t count, const std::vector<std::string>& flags);
  explicit hosts(std::size_t count);
  /// Stopped daemons go on, so that they can be cleared.
  ~hosts();

  test_node& operator[](std::size_t i) { return *nodes[i]; }

  /// Whether this node sees so many that live.
  bool sees(const test_node& through, std::size_t count) const;
  /// A sandbox of one node's, made through another; its id.
  std::string make_on(std::size_t owner, std::size_t through,
                      const std::string& name = {});
  /// What test_node::clear says of each.
  std::string clear();

  etcd_cluster etcd;
  std::vector<std::unique_ptr<test_node>> nodes;
};

} // namespace caged::test
