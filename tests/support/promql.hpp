#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace caged::test {

/// label = "value", with any of the four operators.
struct label_matcher {
  std::string label, op, value;
};

/// A metric that an expression asks for.
struct series_selector {
  std::string metric;
  std::vector<label_matcher> matchers;
};

/// Every selector of a PromQL expression, in order. Prometheus 2.42 has no call
/// that says them; whether the expression is one at all is asked Prometheus.
/// Throws std::runtime_error where it understands nothing (a selector without
/// the name of a metric).
std::vector<series_selector> selectors_of(std::string_view expression);

} // namespace caged::test
