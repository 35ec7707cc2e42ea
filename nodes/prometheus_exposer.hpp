#pragma once

#include <memory>
#include <string>

#include "actors/metrics_sink.hpp"

namespace caged {

/// metrics_sink behind an HTTP endpoint, GET /metrics, on prometheus-cpp. The
/// numbers live in a metrics_table; a scrape copies them and writes its answer
/// without holding anybody up, however slowly it is read.
class prometheus_exposer : public metrics_sink {
public:
  /// `address` is HOST:PORT; port 0 lets the system choose. `node` becomes a
  /// label of every series; `version` and `runtime` stand on caged_node_info.
  /// Errors: bad_request (no HOST:PORT), io (the address cannot be used; names
  /// it and the flag).
  static result<std::unique_ptr<prometheus_exposer>>
  open(const std::string& address, const std::string& node,
       const std::string& version, const std::string& runtime);

  /// Where it really listens: "127.0.0.1:9464".
  virtual std::string listen_address() const = 0;

  /// Whether a store that nodes share answers. Any thread; without a call, as
  /// with SQLite, there is no such series.
  virtual void store_up(bool answers) = 0;
};

} // namespace caged
