#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "messages/error.hpp"

namespace caged::etcd {

/// Addresses of hosts, within a deadline, which getaddrinfo(3) has not: it runs
/// on a thread of its own, one for each name at a time, that may outlive this
/// object. Thread-safe.
class resolver {
public:
  resolver();
  ~resolver();
  resolver(const resolver&) = delete;
  resolver& operator=(const resolver&) = delete;

  /// Numeric addresses, best first; one that is numeric is its own. While the
  /// name service is silent, the last ones it gave. Error: unavailable.
  result<std::vector<std::string>>
  find(const std::string& host, std::chrono::steady_clock::time_point until);

private:
  struct shared;
  std::shared_ptr<shared> shared_;
};

} // namespace caged::etcd
