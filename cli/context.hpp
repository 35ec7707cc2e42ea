#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/node_address.hpp"
#include "cli/verbs.hpp"

/// Contexts: names for fleets, in a file of their own, so that a line need not
/// say where and with which key. And how flags, variables and contexts become
/// the address of a node.
namespace caged::cli {

/// The context that is always there: this host's node, over its Unix socket.
inline constexpr const char* local_context = "local";

struct context {
  std::vector<std::string> endpoints;
  std::vector<std::string> server_keys; ///< Z85; one for all, or one for each
  std::string key_file;
  bool operator==(const context&) const = default;
};

struct contexts {
  std::string current = local_context;
  std::map<std::string, context> all;
};

/// $XDG_CONFIG_HOME/caged, else $HOME/.config/caged. Error: bad_request.
result<std::filesystem::path> config_directory();
/// As above, made when it is not there (0700). Error: io.
result<std::filesystem::path> make_config_directory(const char* below = "");

/// Errors: denied (a mode other than 0600), malformed (with the line), io. No
/// file is no error.
result<contexts> read_contexts(const std::filesystem::path& file);
/// Whole or not at all, 0600. Error: io.
result<void> write_contexts(const std::filesystem::path& file,
                            const contexts& what);

/// What a line and its variables say.
struct address_options {
  std::string endpoint;   ///< with commas between several
  std::string server_key; ///< Z85 or files, with commas; empty: the context's
  std::string key;        ///< file; empty: the context's, else the default one
  std::string context;
};

/// Where to and with which keys: --endpoint before --context, flags before
/// CAGED_ENDPOINT and CAGED_CONTEXT, those before the context in use. Errors:
/// bad_request, not_found, denied, each with a remedy.
result<node_address> resolve(const address_options& from);

struct context_options {
  std::string name, endpoint, server_key, key;
  bool force = false;
};
result<int> run_context_add(const common_options& with,
                            const context_options& what);
result<int> run_context_use(const common_options& with,
                            const context_options& what);
result<int> run_context_list(const common_options& with);
result<int> run_context_rm(const common_options& with,
                           const context_options& what);

} // namespace caged::cli
