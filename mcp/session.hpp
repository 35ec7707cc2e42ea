#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "mcp/config.hpp"
#include "mcp/json_rpc.hpp"
#include "mcp/tool.hpp"

namespace caged::mcp {

class process_table;

/// Where messages to one client go: a line on stdout, a WebSocket message, an
/// event of an HTTP response. Made by the transports.
class outlet {
public:
  virtual ~outlet() = default;
  /// One JSON-RPC message without its framing. Any thread. Blocks a worker
  /// while the peer does not read (the outbox is bounded); never blocks the
  /// thread that is in session::receive: there the transport stops reading
  /// instead. False: the peer is gone.
  virtual bool send(std::string message) = 0;
  /// Every request of one receive() has its answer: an HTTP response ends here.
  /// Once per receive(), any thread, nothing is sent after it.
  virtual void finished() {}
  /// Asked within session::receive, on its thread: runs what is brief here and
  /// now, if this transport can be read on should it take longer after all.
  /// False: it was not run.
  virtual bool lend(const std::function<void()>&) { return false; }
};

struct contents;

/// What all sessions of a server share: configuration, tools, workers,
/// resources. Must outlive them.
class server {
public:
  /// Opens the workspace and registers the tools. Errors: as workspace::open.
  static result<std::unique_ptr<server>> make(server_config config);
  /// A server of other things than a workspace's, for tests; see
  /// mcp/contents.hpp.
  static std::unique_ptr<server> with(server_config config, contents what);
  static std::unique_ptr<server> with(server_config config, tool_set tools);
  /// Ends the threads; waits for calls that run, so cancel them before.
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  const server_config& config() const;

  struct impl;
  impl& self() { return *impl_; }

private:
  explicit server(std::unique_ptr<impl> i);
  std::unique_ptr<impl> impl_;
};

/// One client of the server: which revision it speaks, its calls in flight, its
/// background commands. Serves every revision; a request of 2026-07-28 is known
/// by the version key in its _meta and needs no initialize. All members may be
/// called from any thread, receive() from one at a time.
class session : public std::enable_shared_from_this<session> {
public:
  /// `events` takes what belongs to no request (2025-11-25 and before:
  /// notifications of the server; the GET stream of HTTP); may be null.
  static std::shared_ptr<session> make(server& of,
                                       std::shared_ptr<outlet> events);
  /// The same for a client without sessions (2026-07-28 over HTTP: each request
  /// stands alone): its background commands are in `shared`, which outlives it.
  static std::shared_ptr<session> make(server& of,
                                       std::shared_ptr<outlet> events,
                                       std::shared_ptr<process_table> shared);
  virtual ~session() = default;

  /// One text of the client, parsed. Answers, and what concerns its requests
  /// (progress, logs), go to `reply`. Quick requests are answered before it
  /// returns, others later from a worker.
  virtual void receive(incoming_text text, std::shared_ptr<outlet> reply) = 0;
  /// The client is gone for good: cancels its calls, ends its background
  /// commands. Idempotent.
  virtual void close() = 0;
  /// Replaces `events` (a new GET stream); null: none for now.
  virtual void events(std::shared_ptr<outlet> to) = 0;
  /// "2025-06-18" once initialize was answered; empty before.
  virtual std::string revision() const = 0;
  /// Calls that run or wait.
  virtual std::size_t busy() const = 0;
};

/// A revision that this server speaks, newest first.
const std::vector<std::string>& revisions();
/// "2026-07-28" style requests carry their version themselves: the value of
/// params._meta["io.modelcontextprotocol/protocolVersion"], "" when absent.
std::string version_of(const incoming& message);

/// Serves stdin and stdout until end of input, SIGTERM or SIGINT. Exit code.
int serve_stdio(server& of);
/// Serves WebSocket (mode ws) or Streamable HTTP (mode http) until SIGTERM or
/// SIGINT: then no new connections, running calls get a second. Prints
/// "listening" with its address to the log once bound (port 0: any free one).
/// Exit code.
int serve_web(server& of);

} // namespace caged::mcp
