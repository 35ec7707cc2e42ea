#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "actors/runtime.hpp"

namespace caged {

/// What goes wrong on purpose.
struct fake_faults {
  std::optional<failure> start_error;       ///< start() fails with it
  std::chrono::milliseconds start_delay{0}; ///< start() takes that long
  std::chrono::milliseconds die_after{0};   ///< 0: lives on
};

struct fake_options {
  std::string node_id;
  std::filesystem::path data_dir; ///< workspaces: DATA/fake/ID
  std::filesystem::path run_dir;  ///< sockets: RUN/fake/ID/agent.sock
  /// The program that is run, with --socket and --workspace.
  std::filesystem::path agent;
  fake_faults faults;
};

/// The driver "fake": caged-agent as a plain process in a session of its own,
/// without isolation or limits. For tests; never for anybody else's code.
std::unique_ptr<runtime> make_fake_driver(fake_options options);

} // namespace caged
