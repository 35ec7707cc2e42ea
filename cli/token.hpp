#pragma once

#include <string>
#include <vector>

#include "cli/verbs.hpp"

/// Tokens of the MCP gateway.
namespace caged::cli {

struct token_options {
  std::string sandbox, template_name; ///< one of the two
  std::string scope = "mcp";
  std::string ttl; ///< duration; empty: the default
  bool quiet = false;
  std::vector<std::string> ids; ///< of revoke
};

/// Prints the token on stdout, alone, and what it opens on stderr; with JSON or
/// YAML everything on stdout. Errors: bad_request; of the node.
result<int> run_token_create(const common_options& with,
                             const token_options& what);
result<int> run_token_list(const common_options& with,
                           const token_options& what);
/// Each for itself: one that fails leaves the others to be revoked.
result<int> run_token_revoke(const common_options& with,
                             const token_options& what);

} // namespace caged::cli
