#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "actors/runtime.hpp"

namespace caged {

struct oci_options {
  /// `[a-z0-9][a-z0-9-]*`; every name in the kernel derives from it, so that
  /// several nodes can share one.
  std::string node_id;
  std::filesystem::path data_dir; ///< sandboxes, templates, images; durable
  std::filesystem::path run_dir;  ///< crun's state; gone with a reboot
  /// Directory with caged-agent, seen read-only at /usr/lib/caged inside.
  std::filesystem::path agent_binary_dir;
  std::string crun = "crun"; ///< name in PATH or path
  /// The node's sandboxes are in the cgroups PARENT-NODE/ID.
  std::string cgroup_parent = "/caged";
  std::filesystem::path cgroup_root = "/sys/fs/cgroup";
  /// Host uid of slot 0's root; slot n begins 65536 * n further on. Above the
  /// ranges of useradd and of systemd's DynamicUser and nspawn (systemd,
  /// docs/UIDS-GIDS.md: 524288 to 1879048191 is for containers).
  std::uint32_t uid_base = 1'000'000'000;
  std::chrono::milliseconds heartbeat_interval{5'000}; ///< told to the agents
  std::chrono::milliseconds metrics_interval{10'000};
  std::chrono::milliseconds start_timeout{20'000}; ///< for crun alone
  std::chrono::milliseconds kill_timeout{10'000};  ///< until a cgroup is empty
};

/// The driver "oci": crun, a user namespace, seccomp, an overlay whose upper
/// layer is an ext4 image of the sandbox's own. Makes the calling process a
/// child subreaper (prctl(2)) and starts one thread. The process must not wait
/// for children it does not know: waitpid(-1) would steal the exit status.
std::unique_ptr<runtime> make_oci_driver(oci_options options);

} // namespace caged
