#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/agent_port.hpp"
#include "actors/client_sink.hpp"
#include "actors/directory.hpp"
#include "actors/exec_logs.hpp"
#include "actors/join_table.hpp"
#include "actors/journal.hpp"
#include "actors/key_table.hpp"
#include "actors/lifecycle.hpp"
#include "actors/metrics_sink.hpp"
#include "actors/peer_links.hpp"
#include "actors/runtime.hpp"
#include "actors/store.hpp"
#include "actors/template_store.hpp"
#include "actors/token_table.hpp"
#include "actors/worker.hpp"

namespace caged {

/// Sandboxes that are made ahead of a template.
struct pool_setting {
  std::string template_name;
  unsigned size = 0;
};

/// What every actor of a node needs: made once by caged-node's main (or a
/// test), never changed afterwards. The interfaces are thread-safe.
struct node_context {
  std::string node;    ///< its name, on every answer and series
  std::string node_id; ///< marks its resources in the kernel
  std::string version;
  std::string cgroups; ///< "v1", "hybrid", "v2": for node status
  capacity total;
  std::chrono::milliseconds heartbeat_interval =
      limits::heartbeat_interval_default;
  std::chrono::milliseconds metrics_interval = limits::metrics_interval_default;
  /// Starts under way at once; the rest waits in line, so that each is as fast
  /// as if it were alone.
  std::size_t max_starts = 4;
  /// From the start of its processes to the first hello.
  std::chrono::milliseconds agent_deadline = std::chrono::seconds(10);
  std::chrono::milliseconds failed_retention = std::chrono::hours(24);
  std::vector<pool_setting> pools; ///< one of each template at most
  /// Percent of the host's cpu time in use above which the pool is not filled;
  /// 100: no limit.
  unsigned pool_load = 80;
  /// That percentage since the last call; any thread. May be empty.
  std::function<unsigned()> host_busy;

  std::shared_ptr<runtime> driver;
  std::shared_ptr<caged::store> store;
  /// Why a store that is shared does not answer at the moment; any thread. May
  /// be empty.
  std::function<std::optional<failure>()> store_away;
  /// The fleet as this node last saw it, itself in it from the start; where the
  /// store is its own it is the only one.
  std::shared_ptr<directory> fleet;
  /// Empty: those of other nodes are not fetched.
  std::shared_ptr<template_store> templates;
  std::shared_ptr<pool_counts> pool_ready; ///< may be empty
  std::shared_ptr<caged::journal> journal;
  std::shared_ptr<agent_port> agents;
  std::shared_ptr<client_sink> clients;
  std::shared_ptr<peer_links> peers; ///< empty: it is the only node
  std::shared_ptr<metrics_sink> metrics;
  /// Somebody asked for what is not theirs: counts it (the reasons are
  /// metrics_sink::client_refused's) and logs who and from where. For the
  /// entrypoint: not two at a time.
  std::function<void(std::string_view reason, const std::string& who,
                     const std::string& from)>
      refused;
  std::shared_ptr<exec_logs> logs;
  std::shared_ptr<token_table> tokens;
  std::shared_ptr<key_table> keys;
  std::shared_ptr<join_table> joins;
  join_services joining;
  std::string listen;      ///< "tcp://10.0.0.1:7400"; empty: ipc:// alone
  std::string public_key;  ///< of this node there, Z85
  std::string gateway_url; ///< "http://127.0.0.1:7480"; empty: it has none
  /// Whether the token is revoked now, so that the gateway ends what it let in;
  /// any thread. May be empty.
  std::function<void(const std::string& token)> token_revoked;

  worker_actor driver_workers; ///< blocking driver calls
  worker_actor records;        ///< blocking journal calls, in order
  /// Blocking store calls: those of SQLite are `records`; etcd may be away for
  /// seconds, and then no journal may stand behind it.
  worker_actor store_calls;
  /// Templates on their way to other nodes, and from them: what is packed for
  /// one must not hold up what comes from another.
  worker_actor templates_out, templates_in;

  /// The machine's boot clock: which boot, and milliseconds of CLOCK_BOOTTIME.
  /// Thread-safe.
  std::string boot_id;
  std::function<std::int64_t()> boot_ms;

  /// Ends the daemon, from any thread.
  std::function<void()> request_stop;
};

using context_ptr = std::shared_ptr<const node_context>;

} // namespace caged
