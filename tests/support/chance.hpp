#pragma once

#include <random>

#include "tests/support/process.hpp"

namespace caged::test {

/// $CAGED_SEED, else 1: repeats a run. A test prints it when it fails.
unsigned seed();

/// Seeded choices.
class chance {
public:
  explicit chance(unsigned from = seed()) : engine_{from} {}
  /// From 0 to end - 1.
  unsigned below(unsigned end) {
    return std::uniform_int_distribution<unsigned>{0, end - 1}(engine_);
  }
  /// A moment within the span: what is waited for is time itself.
  void let_pass(std::chrono::milliseconds span);

private:
  std::mt19937 engine_;
};

} // namespace caged::test
