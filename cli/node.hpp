#pragma once

#include <string>
#include <vector>

#include "cli/verbs.hpp"

/// The nodes of the fleet, as the one that is asked sees them.
namespace caged::cli {

struct node_options {
  std::string node;               ///< id or name
  std::vector<std::string> nodes; ///< of cordon, uncordon and rm
  bool quiet = false, force = false;
  std::string ttl; ///< of token; empty: the default
};

/// "ready", "ready,cordoned", "lost", ...
std::string status_of(const api::node_info& node);
std::string show(const api::node_list_reply& reply, format as);
std::string show(const api::node_info& node, format as);

result<int> run_node_list(const common_options& with, const node_options& what);
result<int> run_node_get(const common_options& with, const node_options& what);
/// Each for itself, as run_node_rm: one that fails leaves the others to be
/// done.
result<int> run_node_cordon(const common_options& with,
                            const node_options& what, bool on);
/// Its stdout is the token alone, so that it can be sent to a file.
result<int> run_node_token(const common_options& with,
                           const node_options& what);
result<int> run_node_rm(const common_options& with, const node_options& what);

} // namespace caged::cli
