#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/verbs.hpp"

/// Keys of clients: made here, authorised on a node.
namespace caged::cli {

struct key_options {
  std::string name; ///< of create: empty: the login name
  bool force = false;
  std::string file, role, as;    ///< of authorize
  std::vector<std::string> keys; ///< of revoke: keys or names
  bool quiet = false;
};

/// The secret file of a name in $XDG_CONFIG_HOME/caged/keys; empty: of the
/// login name. Error: bad_request.
result<std::filesystem::path> key_path(const std::string& name);

result<int> run_key_create(const common_options& with, const key_options& what);
result<int> run_key_authorize(const common_options& with,
                              const key_options& what);
/// Each for itself: one that fails leaves the others to be revoked.
result<int> run_key_revoke(const common_options& with, const key_options& what);
result<int> run_key_list(const common_options& with, const key_options& what);

} // namespace caged::cli
