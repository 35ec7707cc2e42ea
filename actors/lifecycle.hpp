#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actors/runtime.hpp"
#include "messages/client_api.hpp"
#include "messages/sandbox.hpp"

/// Decisions about a sandbox's life as plain functions (DESIGN.md, section 5).
namespace caged {

/// Whether the state machine knows this transition. Same state: allowed, it
/// records a cause (init script ended, memory limit hit, ...).
bool may_change(phase from, phase to) noexcept;

/// Whether processes may exist in this state.
bool has_processes(phase state) noexcept;

/// Whether a sandbox in this state holds cpus and memory of the node. A failed
/// one holds its disk only.
bool holds_capacity(phase state) noexcept;

/// Refuses exec, logs and so on where the state does not allow them.
/// Error: wrong_state, with the state and what to do.
result<void> allows_exec(const std::string& id, phase state, const cause& last);

/// What a node has and what is promised.
struct capacity {
  unsigned cpus = 0;
  std::uint64_t memory_mb = 0;
  std::uint64_t disk_gb = 0;

  friend bool operator==(const capacity&, const capacity&) = default;
};

/// Error: no_capacity; the sentence names each resource that is short, how
/// much is asked and how much is free.
result<void> fits(const capacity& total, const capacity& reserved,
                  const sandbox_spec& wanted);

void reserve(capacity& reserved, const sandbox_spec& spec, phase state);
void unreserve(capacity& reserved, const sandbox_spec& spec, phase state);

/// The journal held against the kernel. `leases` are (sandbox, lease); a lease
/// whose sandbox is in `live` and which the kernel lacks is "missing".
std::vector<api::audit_row>
audit(const std::vector<std::pair<std::string, lease>>& leases,
      const std::vector<host_resource>& found,
      const std::vector<std::string>& live);

} // namespace caged
