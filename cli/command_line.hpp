#pragma once

namespace caged::cli {

/// The whole program: reads the arguments, runs the verb, prints errors.
/// Gives the exit code: 2 for wrong usage, 125 or 1 for failures, else the
/// verb's or the command's.
int run_command_line(int argc, char** argv);

} // namespace caged::cli
