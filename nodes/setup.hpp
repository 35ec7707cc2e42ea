#pragma once

#include <filesystem>
#include <string>

#include "messages/client_api.hpp"
#include "messages/error.hpp"
#include "messages/join_token.hpp"
#include "nodes/config.hpp"

/// `caged-node init` and `caged-node join`: what a host needs before its daemon
/// runs. Files with secrets have mode 0600.
namespace caged {

/// Whether these are the words of one of the two, which are the first.
bool is_setup(int argc, const char* const* argv);

/// Runs it; `argv` as main's. The exit code: 1 when it failed, 2 for what was
/// not understood; what there is to say has been printed.
int run_setup(int argc, const char* const* argv);

/// Nothing when there is no file, or the same text in it; else: conflict.
result<void> may_write_config(const std::filesystem::path& file,
                              const std::string& text, bool force);

/// Directories above it are made. Errors: conflict, io.
result<void> write_config(const std::filesystem::path& file,
                          const std::string& text, bool force);

/// The token in a file ("-": stdin), or where none is named in the environment
/// (CAGED_JOIN_TOKEN). Errors: bad_request (there is none), io, those of
/// decode_join_token; denied: it has expired by this clock.
result<join_token> read_join_token(const std::string& file);

/// Writes the files of the store beside the node's others, and gives the
/// settings that name them. Errors: malformed (what came is none), io.
result<given_settings> keep_access(const std::filesystem::path& data,
                                   const api::store_access& access);

/// Asks the node that made the token. Blocks, for some seconds at most. Errors:
/// bad_request (`endpoint`), unavailable (nobody answers, or the answer was
/// lost), denied (another node's key, the token is not known), what the node
/// says.
result<api::join_reply> ask_to_join(const std::string& endpoint,
                                    const join_token& token, api::join what);

} // namespace caged
