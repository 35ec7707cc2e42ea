#pragma once

#include <memory>
#include <string>

#include "actors/metrics_sink.hpp"
#include "messages/error.hpp"

namespace caged {

/// The Prometheus endpoint: prometheus-cpp's HTTP server over what actors put
/// here. Series and units: docs/metrics.md.
class prometheus_exposer : public metrics_sink {
public:
  /// Listens at "ADDRESS:PORT"; port 0: the kernel chooses. Errors: bad_request
  /// (no such form), io (in use), each naming the address.
  static result<std::shared_ptr<prometheus_exposer>>
  open(const std::string& address, const std::string& node,
       const std::string& version, const std::string& runtime);

  /// "127.0.0.1:9464", with the port that was chosen.
  virtual std::string listen_address() const = 0;
};

} // namespace caged
