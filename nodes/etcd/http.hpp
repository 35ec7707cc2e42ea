#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "nodes/etcd/options.hpp"
#include "nodes/etcd/resolver.hpp"

/// HTTP/1.1 to one member of an etcd. The only file with Boost.Beast behind it
/// is http.cpp.
namespace caged::etcd {

using steady = std::chrono::steady_clock;

struct http_reply {
  unsigned status = 0;
  std::string body;
};

/// Why there is no reply; `sent`: the member may have had the request.
struct lost {
  failure why;
  bool sent = false;
};

/// What all connections share: addresses and TLS. Thread-safe once made.
class dialer {
public:
  virtual ~dialer() = default;
  dialer() = default;
  dialer(const dialer&) = delete;
  dialer& operator=(const dialer&) = delete;

  resolver names;
};

/// Errors: bad_request, io: a certificate or key that cannot be used.
result<std::shared_ptr<dialer>> make_dialer(const etcd_options& options);

/// One connection, which is dialled when it is needed and again when it broke.
/// For one thread at a time, apart from cancel().
class connection {
public:
  virtual ~connection() = default;

  /// Sends a JSON text and waits for the whole answer (64 MiB at most). After
  /// an error the connection is closed.
  virtual tl::expected<http_reply, lost> post(const std::string& path,
                                              const std::string& body,
                                              const std::string& token,
                                              steady::time_point until) = 0;

  /// The same for an answer that goes on and on: line() gives it. Errors:
  /// unavailable; denied, a status that says that the request is at fault.
  virtual result<void> open_stream(const std::string& path,
                                   const std::string& body,
                                   const std::string& token,
                                   steady::time_point until) = 0;

  /// Its next line (64 MiB at most); nullopt: none came within that time, and
  /// nothing is lost. Error: unavailable, the stream has ended.
  virtual result<std::optional<std::string>>
  line(std::chrono::milliseconds wait) = 0;

  /// Ends a running call with an error, and all later ones. Any thread.
  virtual void cancel() = 0;
};

/// Does no I/O yet.
std::unique_ptr<connection> make_connection(std::shared_ptr<dialer> with,
                                            const etcd_endpoint& to);

} // namespace caged::etcd
