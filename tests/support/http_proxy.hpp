#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace caged::test {

/// Stands between a client and an HTTP server on loopback, and does to requests
/// what a network may do.
class http_proxy {
public:
  enum class fate {
    pass,
    lose_answer, ///< the server has it; the client's connection is cut
    hold,        ///< kept for release(); the client's connection is cut
    keep_waiting ///< neither passed on nor answered, until release()
  };
  /// Asked for each request with its whole text, on one thread at a time.
  using judge = std::function<fate(const std::string& request)>;

  explicit http_proxy(std::uint16_t server);
  ~http_proxy();
  http_proxy(const http_proxy&) = delete;
  http_proxy& operator=(const http_proxy&) = delete;

  std::uint16_t port() const { return port_; }
  void decide(judge with);
  /// New connections are closed at once, those that are there now.
  void cut(bool now);
  /// Connections that are there are silent from now on; new ones are not.
  void freeze() { ++era_; }
  /// Sends the requests that were held or wait, in their order; returns when
  /// the server has answered the held ones. How many they were.
  std::size_t release();

private:
  void accept();
  void serve(int client, unsigned era);

  const std::uint16_t server_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stopping_{false}, cut_{false};
  std::atomic<unsigned> era_{0}, released_{0};
  std::mutex mutex_;
  judge judge_;
  std::vector<std::string> held_;
  std::atomic<std::size_t> waiting_{0};
  std::list<std::thread> threads_; ///< the acceptor's alone
  std::thread acceptor_;
};

} // namespace caged::test
