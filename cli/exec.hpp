#pragma once

#include <string>

#include "messages/client_api.hpp"

namespace caged::cli {

/// Exit code of caged when the trouble is ours, not the command's.
inline constexpr int exit_ours = 125;
/// As timeout(1) has it.
inline constexpr int exit_timeout = 124;

/// Exit code of caged for the end of a command: its own, 128+n for a signal,
/// 124 when its time was up.
int exit_code_of(const api::exec_exit& ended);

/// Runs a command with our stdin, stdout, stderr and signals until its end,
/// over as many connections as it takes. Gives the exit code for main.
/// Errors: the node's; unavailable when the node stays away for 30 s.
result<int> run_exec(const std::string& endpoint, api::exec what);

} // namespace caged::cli
