#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "messages/error.hpp"
#include "messages/samples.hpp"
#include "messages/sandbox.hpp"

namespace caged {

/// A resource of the host that is made for one sandbox. Written to the
/// journal before it is made and struck off after it is freed. Names are
/// derived from the sandbox's id and the node's id, so that a half-made
/// sandbox can be undone without knowing how far its start came.
struct lease {
  /// "cgroup", "directory", "loop", "container", "process", "uid_range",
  /// "mount", "socket".
  std::string kind;
  std::string name; ///< path, container id, first uid, ...

  friend auto operator<=>(const lease&, const lease&) = default;
};

/// What inventory() finds in the kernel. `sandbox` is derived from the name
/// of the thing; empty when it cannot be told.
struct host_resource {
  lease what;
  std::string sandbox;
};

struct launch_request {
  std::string id;
  sandbox_spec spec;
  /// Index of the sandbox's uid range and of nothing else; unique among the
  /// node's sandboxes that hold a uid_range lease.
  std::uint32_t slot = 0;
};

/// How to find the processes again, also after a restart of the daemon.
struct process_ref {
  std::int32_t pid = 0;         ///< the sandbox's init (the agent), host pid
  std::uint64_t start_time = 0; ///< field 22 of /proc/PID/stat, against reuse

  friend bool operator==(const process_ref&, const process_ref&) = default;
};

/// Why a sandbox's processes ended.
struct exit_report {
  std::string id;
  process_ref process;
  int status = -1;         ///< as waitpid gives it; -1: not our child
  bool oom_killed = false; ///< the cgroup counted an oom kill of the init
  std::string text;        ///< one sentence for `why`
};

struct runtime_capabilities {
  std::string name;    ///< "oci"
  std::string version; ///< of the engine, for node status
  bool isolates = true;
  bool pause = false;
  bool snapshot = false;
  std::vector<network_mode> networks;
};

/// Where the agent of a sandbox can be reached.
struct agent_address {
  /// oci: the socket is looked for beneath /proc/PID/root without following
  /// symbolic links, and its peer must be `init`. fake: a plain path.
  std::string path = "run/caged/agent.sock";
  process_ref init;
  bool beneath_root = true;
};

/// A runtime driver. Drivers hold no policy and no truth: the journal says
/// what should exist. Every call may block (a fork, a mount, a wait): only
/// driver workers call them, several at a time, never two for one sandbox.
/// Everything is idempotent.
class runtime {
public:
  using exit_handler = std::function<void(exit_report)>;

  virtual ~runtime() = default;

  virtual runtime_capabilities capabilities() const = 0;

  /// Whether this host can run the driver: programs there, kernel features.
  /// Error: host_setup, naming what is missing and how to get it.
  virtual result<void> check() = 0;

  /// Everything start() will make for this request. Pure.
  virtual std::vector<lease> leases(const launch_request& request) const = 0;

  /// Makes it and runs the agent as its init. On an error nothing is left.
  /// Errors: host_setup, resource, not_found (template), unsupported.
  virtual result<process_ref> start(const launch_request& request) = 0;

  /// Takes over a sandbox that an earlier daemon started: watches its init
  /// again. Error: agent_lost when that process is gone.
  virtual result<void> recover(const launch_request& request,
                               const process_ref& process) = 0;

  virtual agent_address address(const launch_request& request,
                                const process_ref& process) const = 0;

  /// Ends the processes: the init is killed and with it everything inside.
  /// Returns when the cgroup is empty. Error: timeout.
  virtual result<void> kill(const std::string& id) = 0;

  /// kill, then frees every lease; with keep_disk the directory with the disk
  /// layer stays. Works from the id alone, whatever start() reached.
  virtual result<void> destroy(const std::string& id, bool keep_disk) = 0;

  /// Freezer. Error: unsupported.
  virtual result<void> pause(const std::string& id) = 0;
  virtual result<void> resume(const std::string& id) = 0;

  /// Gives a sandbox that was started for another spec the limits and the host
  /// name of this one: of what start() was told, cpus, memory, pids and name
  /// may differ. Again is fine. Errors: not_found, resource.
  virtual result<void> tune(const launch_request& request,
                            const process_ref& process) = 0;

  /// Error: not_found.
  virtual result<host_stats> stats(const launch_request& request) = 0;

  /// The last lines the agent wrote to its stderr, oldest first, bounded.
  virtual std::string agent_log(const std::string& id) = 0;

  /// Everything in the kernel and on disk that bears this node's mark.
  virtual result<std::vector<host_resource>> inventory() = 0;

  /// Called once before any start. The handler runs on a thread of the
  /// driver's and must not block.
  virtual void on_exit(exit_handler handler) = 0;

  /// As on_exit, for kills that the init survives: called with the sandbox's
  /// id and the number of oom kills so far, soon after the kernel counted one.
  /// An empty handler takes the earlier one away and returns when no call of it
  /// is under way. Drivers that see no such thing keep this one.
  virtual void on_oom(std::function<void(std::string, std::uint64_t)> handler) {
    static_cast<void>(handler);
  }
};

} // namespace caged
