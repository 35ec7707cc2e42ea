#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "messages/error.hpp"

namespace caged::oci {

/// Everything one start needs, prepared before the fork.
struct launch_plan {
  /// Existing directory, covered in the child alone: there are the bundle and
  /// the user namespace, `userns`.
  std::string scratch;
  std::string base;      ///< the template's rootfs
  std::string agents;    ///< directory bound to /usr/lib/caged
  std::string device;    ///< loop device with the ext4
  std::string config;    ///< text of config.json
  std::string hide;      ///< unmounted first (hybrid cgroups); may be empty
  std::uint64_t uid = 0; ///< host uid of the sandbox's root
  int stderr_fd = -1;    ///< becomes the stderr of crun and of the agent
  std::string crun;      ///< path of the program
  std::vector<std::string> args; ///< of crun, argv[0] included
};

/// Forks a child that makes the sandbox's mounts in a mount namespace of its
/// own and becomes crun; waits for crun to end. Nothing is ever mounted where
/// the daemon or the host sees it. Any thread; async-signal-safe after the
/// fork. Errors: resource (the step that failed), timeout; `log` is a file
/// whose last line explains a failure of crun.
result<void> launch(const launch_plan& plan, const std::filesystem::path& log,
                    std::chrono::milliseconds timeout);

/// A directory that can be covered: exists, and none of `used` lies beneath.
/// Empty when there is none.
std::string scratch_directory(const std::vector<std::filesystem::path>& used);

} // namespace caged::oci
