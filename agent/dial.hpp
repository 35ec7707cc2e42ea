#pragma once

#include <string>

#include "agent/stream.hpp"
#include "messages/agent_protocol.hpp"

namespace caged::agent {

/// A connection to a port or a Unix socket inside: agent_protocol.md,
/// section 7.
class dial : public stream {
public:
  using stream::stream;

  /// Connects. Errors: bad_request (not a loopback address), io (refused).
  result<void> start(const nlohmann::json& payload);

  std::string_view output_name(std::size_t index) const override;
  std::string next_notice() override;
  void detached() override;
  bool over() const noexcept { return over_; }
  void close();

private:
  std::string_view input_name() const override { return "in"; }
  void end_input() override;
  bool over_ = false;
  bool close_sent_ = false;
};

} // namespace caged::agent
