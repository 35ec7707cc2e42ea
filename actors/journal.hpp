#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/runtime.hpp"
#include "messages/sandbox.hpp"

namespace caged {

/// Everything the node knows about one of its sandboxes.
struct sandbox_record {
  std::string id;
  std::string owner;
  std::string request_id;   ///< of the `up` that made it
  std::uint64_t digest = 0; ///< of that request's body
  sandbox_spec spec;        ///< whole, with env and init script
  phase state = phase::pending;
  std::int64_t created_ms = 0;
  std::int64_t changed_ms = 0;
  std::uint32_t slot = 0;
  process_ref process;    ///< pid 0: not started
  std::string agent_boot; ///< boot id of the agent that was first seen
  std::string agent_version;
  int init_state = -1; ///< see sandbox_info
  /// Lives in the sandbox's disk layer only, kept for a failed sandbox.
  bool disk_kept = false;
  /// Times of the machine's boot clock (CLOCK_BOOTTIME, milliseconds), which no
  /// change of the date moves; they mean something in this boot only.
  std::string boot_id;
  std::int64_t born_boot_ms = 0;   ///< when it was asked for
  std::int64_t active_boot_ms = 0; ///< when its last exec ended; 0: none yet
  /// Not stored: read from the journal, so that an earlier actor or daemon may
  /// have begun to make it.
  bool taken_over = false;
};

/// One exec as the owner remembers it: who may attach, and how it ended.
struct exec_record {
  std::string exec; ///< UUID, the request id
  std::string sandbox;
  std::string caller;
  std::uint64_t digest = 0;
  std::int64_t started_ms = 0;
  bool detached = false; ///< the node is its receiver
  bool tty = false;
  std::string command; ///< shortened, for `ps`
  std::optional<int> code;
  std::optional<int> signal;
};

/// The node's own truth, on its own disk. Blocking and thread-safe; actors go
/// through the records worker. What a client was told is done is on disk:
/// every call but put_exec and drop_exec is durable when it returns (execs die
/// with the machine, so they need to survive the daemon only).
/// Errors of all: io (disk full, read-only), naming the file.
class journal {
public:
  virtual ~journal() = default;

  /// A new sandbox with everything that will be made for it, in one commit.
  virtual result<void> create(const sandbox_record& sandbox,
                              const std::vector<lease>& leases,
                              const cause& why) = 0;

  /// Writes the record's changeable part (state, process, agent, init) and
  /// appends the cause, in one commit.
  virtual result<void> transition(const sandbox_record& sandbox,
                                  const cause& why) = 0;

  /// As transition, and strikes leases off: all, or all but `kept`.
  virtual result<void> release(const sandbox_record& sandbox, const cause& why,
                               const std::vector<lease>& kept) = 0;

  /// Every sandbox that is not destroyed, oldest first.
  virtual result<std::vector<sandbox_record>> sandboxes() = 0;
  /// Destroyed ones whose history is kept.
  virtual result<std::vector<sandbox_record>> destroyed() = 0;
  virtual result<std::vector<cause>> causes(const std::string& id) = 0;
  /// (sandbox id, lease)
  virtual result<std::vector<std::pair<std::string, lease>>> leases() = 0;

  /// Removes the history of sandboxes destroyed before this time.
  virtual result<void> expire(std::int64_t before_ms) = 0;

  /// Every recorded cause since a time of the wall clock, oldest first; at most
  /// the newest `most`.
  virtual result<std::vector<std::pair<std::string, cause>>>
  events(std::int64_t since_ms, std::size_t most) = 0;

  /// Writes active_boot_ms; survives the daemon, not the machine.
  virtual result<void> touch(const std::string& id,
                             std::int64_t active_boot_ms) = 0;

  virtual result<void> put_exec(const exec_record& exec) = 0;
  virtual result<void> drop_exec(const std::string& exec) = 0;
  virtual result<std::vector<exec_record>> execs() = 0;
};

} // namespace caged
