#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "actors/runtime.hpp"

namespace caged::oci {

struct bundle_options {
  std::string cgroup;         ///< absolute path of the group
  std::string rootfs;         ///< as crun sees it
  std::string user_namespace; ///< file to join, with a map for `uid`
  std::uint64_t uid = 0;      ///< host uid of the sandbox's root
  bool limit_swap = false;    ///< the kernel accounts swap
  std::uint64_t files = 0;    ///< RLIMIT_NOFILE, at most our own hard limit
  int oom_score_adj = 0;      ///< never below our own
  std::chrono::milliseconds heartbeat_interval{5'000};
  std::chrono::milliseconds metrics_interval{10'000};
};

/// The sandbox's own: its name, else its id.
std::string host_name(const launch_request& request);

/// crun's config.json for a sandbox (OCI runtime specification 1.0.2). No
/// secret is in it: spec.env travels over the agent's link.
std::string bundle_config(const launch_request& request,
                          const bundle_options& options);

} // namespace caged::oci
