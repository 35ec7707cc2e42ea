#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "cli/exec_io.hpp"
#include "cli/node_address.hpp"
#include "messages/client_api.hpp"

namespace caged::cli {

/// Exit code of caged when the trouble is ours, not the command's.
inline constexpr int exit_ours = 125;
/// As timeout(1) has it.
inline constexpr int exit_timeout = 124;

/// Exit code of caged for the end of a command: its own, 128+n for a signal,
/// 124 when its time was up.
int exit_code_of(const api::exec_exit& ended);

/// Whether a text may be an argument: the wire's strings are UTF-8.
bool is_utf8(std::string_view text);

/// The ends of an exec's streams, owned by the caller.
struct exec_ends {
  byte_source* in = nullptr; ///< none: it gets no stdin
  byte_sink& out;
  byte_sink& err;
  /// What an end of ours does to the command. False, as in a shell: signals
  /// are passed on, and it may take its time. True, for a transfer, which is
  /// void without us: the first signal, a source that fails or a sink that
  /// nobody reads ends it, within seconds.
  bool transfer = false;
  /// Called once when all output is written and no more will come.
  std::function<void()> out_ended = {};
};

/// What a stream goes to, where it is no new command.
struct exec_target {
  std::string exec;       ///< attaches to this exec; empty: a new one
  std::uint16_t port = 0; ///< connects to a TCP port instead
};

/// What became of a command.
struct exec_end {
  api::exec_exit ended; ///< code -1 and our signal when we gave it up
  int interrupted = 0;  ///< the signal that we were sent, 0: none
  int source_error = 0; ///< errno of our stdin
  int sink_error = 0;   ///< errno of our stdout; EPIPE: nobody reads
};

/// Runs a command until its end, over as many connections as it takes; our
/// signals are held meanwhile. Errors: the node's; bad_request for an argument
/// that is no UTF-8; unavailable when the node stays away for 30 s.
result<exec_end> run_exec(const node_address& node, api::exec what,
                          const exec_ends& ends, const exec_target& to = {});

/// As above, with our stdin, stdout, stderr and terminal. Gives the exit code
/// for main; Ctrl-P Ctrl-Q leaves an attached terminal with 0.
result<int> run_exec(const node_address& node, api::exec what,
                     const exec_target& to = {});

} // namespace caged::cli
