#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "actors/metrics_sink.hpp"

namespace caged {

/// Counts who was not let in, and logs it, but never more than a few lines a
/// reason and interval: anybody can knock. Not thread-safe.
class refusals {
public:
  /// `metrics` may be empty.
  explicit refusals(std::shared_ptr<metrics_sink> metrics)
      : metrics_{std::move(metrics)} {}

  /// `reason` as metrics_sink::client_refused; `who`: a key or a caller, as far
  /// as it is known; `where`: an address.
  void add(std::string_view reason, const std::string& who,
           const std::string& where);

private:
  struct window {
    std::chrono::steady_clock::time_point since;
    int said = 0;
    std::uint64_t left_out = 0;
  };

  std::shared_ptr<metrics_sink> metrics_;
  std::map<std::string, window, std::less<>> windows_; ///< by reason
};

} // namespace caged
