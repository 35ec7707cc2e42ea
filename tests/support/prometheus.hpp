#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/support/process.hpp"

namespace caged::test {

/// A real Prometheus on a free port of loopback, with data of its own that is
/// gone with it.
class prometheus_server {
public:
  /// The whole of its prometheus.yml. Waits until it answers.
  explicit prometheus_server(const std::string& config);
  bool up() const { return server_ != nullptr; }
  std::string log() const { return log_; } ///< why it is not up

  /// What a path of its HTTP API answers ("/api/v1/rules"): its `data`, or null
  /// and `error` in a refusal.
  nlohmann::json get(const std::string& path, std::string* error = nullptr);
  /// The result of an instant query: an array; null and `error` when Prometheus
  /// does not take the expression.
  nlohmann::json query(const std::string& expression,
                       std::string* error = nullptr);
  /// Value of an instant query with one result; nothing without a result.
  std::optional<double> value(const std::string& expression);

private:
  bool ready();
  temp_dir dir_;
  std::uint16_t port_ = 0;
  std::string log_;
  std::unique_ptr<background> server_;
};

} // namespace caged::test
