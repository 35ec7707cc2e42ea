#pragma once

#include <chrono>
#include <cstdlib>
#include <random>

#include "tests/support/process.hpp"

namespace caged::test {

/// $CAGED_SEED, else 1. A test that uses it says it when it fails.
inline unsigned seed() {
  const char* given = std::getenv("CAGED_SEED");
  return given ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : 1U;
}

/// The same numbers for the same seed, on every machine. One thread.
class chance {
public:
  explicit chance(unsigned from) : engine_{from} {}
  unsigned below(unsigned end) {
    return std::uniform_int_distribution<unsigned>{0, end - 1}(engine_);
  }
  /// A moment within the span: what is waited for is time itself.
  void let_pass(std::chrono::milliseconds span) {
    auto until =
        std::chrono::steady_clock::now()
        + std::chrono::milliseconds(below(static_cast<unsigned>(span.count())));
    eventually(span, [&] { return std::chrono::steady_clock::now() >= until; });
  }

private:
  std::mt19937 engine_;
};

} // namespace caged::test
