#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/test_node.hpp"

namespace caged::test {

/// Somebody elsewhere: keys and contexts in a folder of their own, and commands
/// to a node over tcp. The node was started with listening().
class person {
public:
  /// Makes the key; with a role it is authorised by the node's admin. It may be
  /// made before the node runs when it has none.
  person(const test_node& node, std::string name, const std::string& role);

  /// From now on asks this node.
  void go_to(const test_node& node);
  /// Runs `caged ARGS` with CAGED_ENDPOINT, CAGED_SERVER_KEY and CAGED_KEY.
  process_result caged(std::vector<std::string> args,
                       process_options options = {}) const;
  std::unique_ptr<background> start_caged(std::vector<std::string> args,
                                          process_options options = {}) const;
  /// The same with nothing set but the folder.
  process_result bare(std::vector<std::string> args) const;
  /// `caged up --name NAME`; whether it worked.
  bool up(const std::string& name) const;

  std::string key_file() const;
  std::string public_file() const { return key_file() + ".pub"; }

  std::string endpoint, server_key; ///< of the node; a test may change them

private:
  process_options with(process_options options) const;
  temp_dir dir_;
  std::string name_;
};

/// Flags of a node that listens on a port of loopback.
std::vector<std::string> listening(int port = 0);
/// A port that nobody listens on now.
int free_port();
/// "tcp://127.0.0.1:PORT" of a node that runs.
std::string tcp_endpoint(const test_node& node);

} // namespace caged::test
