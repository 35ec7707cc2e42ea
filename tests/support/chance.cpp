#include "tests/support/chance.hpp"

#include <cstdlib>

namespace caged::test {

unsigned seed() {
  const char* given = std::getenv("CAGED_SEED");
  return given ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : 1U;
}

void chance::let_pass(std::chrono::milliseconds span) {
  auto until =
      std::chrono::steady_clock::now()
      + std::chrono::milliseconds(below(static_cast<unsigned>(span.count())));
  eventually(span, [&] { return std::chrono::steady_clock::now() >= until; });
}

} // namespace caged::test
