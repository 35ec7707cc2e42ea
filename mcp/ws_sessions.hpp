#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "mcp/outbox.hpp"
#include "mcp/replay.hpp"
#include "mcp/session.hpp"
#include "mcp/web_budget.hpp"

/// Sessions of WebSocket that outlive their connection (docs/mcp.md,
/// "Reconnecting over WebSocket"). No sockets here.
namespace caged::mcp {

/// What the query of a WebSocket's address asks for.
struct resume_request {
  std::string id; ///< Empty: a session that ends with its connection.
  std::uint64_t received = 0; ///< Messages that the client has had.
  /// Number of the first message that it will send; nothing: one more than the
  /// server has had.
  std::optional<std::uint64_t> next;
};
/// Parameters of other names are nobody's. Error: bad_request; one sentence
/// that names the parameter and the accepted form.
result<resume_request> parse_resume(std::string_view target);

/// Close codes of this protocol (RFC 6455, 7.4.2: 4000 to 4999 are private).
namespace resume_code {
constexpr std::uint16_t never_sent = 4400;
constexpr std::uint16_t no_session = 4404;
constexpr std::uint16_t taken_over = 4409;
constexpr std::uint16_t gap = 4410;
} // namespace resume_code

/// Numbers messages, keeps the newest to send them again, and hands them to one
/// connection at a time.
class resumable_outbox final : public ws_outlet {
public:
  /// To be made on the I/O thread. `budget` must outlive end().
  explicit resumable_outbox(web_budget& budget);

  /// While nobody is attached a message is kept or dropped, and no worker
  /// waits.
  bool send(std::string message) override;

  // The I/O thread alone:
  void cork(bool on) override { corked_ = on; }
  bool take(std::string& message) override;
  void written(std::size_t bytes) override;
  bool full() const override;
  bool empty() const override;
  /// The connection is gone; what it did not write is kept.
  void close() override;

  /// A connection whose client has had so many messages, at most last(): gets
  /// the others, then what is new; an older one gets nothing more. `wake` as in
  /// outbox. Some of the others are not kept any more: nothing changed, returns
  /// the number of the first that is.
  std::optional<std::uint64_t> attach(std::uint64_t received,
                                      std::function<void()> wake);
  /// Number of the newest message, 0 before the first.
  std::uint64_t last() const;
  /// Applies the budget, which shrinks as sessions get more.
  void trim() { log_.trim(); }
  /// Nobody comes back.
  void end();

private:
  void push(std::shared_ptr<const std::string> text);
  void drop_pending();

  const std::thread::id io_ = std::this_thread::get_id();
  bool corked_ = false;
  web_budget& budget_;
  replay_store log_; ///< Of one stream, number 0.

  mutable std::mutex lock_;
  std::condition_variable room_;
  std::function<void()> wake_; ///< Set while there is a connection.
  std::deque<std::shared_ptr<const std::string>> pending_;
  std::size_t bytes_ = 0; ///< Pending, or taken and not yet written.
  std::uint64_t last_ = 0;
  bool woken_ = false;
  bool ended_ = false;
};

/// One of them. I/O thread alone.
struct ws_session {
  std::string id; ///< Chosen by the client; whoever knows it is the client.
  std::shared_ptr<session> of;
  std::shared_ptr<resumable_outbox> out;
  std::uint64_t received = 0; ///< Messages of the client.
  /// Closes the connection that has it; null: none has.
  std::function<void()> evict;
  std::chrono::steady_clock::time_point lost;
};

/// All of a server, at most so many. I/O thread alone.
class ws_sessions {
public:
  using clock = std::chrono::steady_clock;

  ws_sessions(web_budget& budget, std::size_t most)
      : budget_{budget}, most_{most} {}

  /// What a connection wants to hear: as http_stream::listener.
  struct listener {
    std::function<void()> wake, evicted;
  };
  struct outcome {
    /// Null: as many as there may be, or unknown.
    std::shared_ptr<ws_session> of;
    bool fresh = false;
    /// So many of the first messages of this connection were had before.
    std::uint64_t skip = 0;
    /// Not 0: not attached, the connection is to be closed with this.
    std::uint16_t code = 0;
    std::string reason;
  };
  /// Starts the session or gives it to this connection; an older one of it is
  /// evicted. `make` as session_factory::make.
  outcome
  attach(const resume_request& asked, listener by,
         const std::function<std::shared_ptr<session>(std::shared_ptr<outlet>)>&
             make,
         clock::time_point now);
  /// Its connection went away, and may come back.
  void detach(ws_session& one, clock::time_point now);
  /// For good: its calls are cancelled. Idempotent.
  void end(const std::shared_ptr<ws_session>& one);
  /// Ends those that had no connection for so long.
  void expire(clock::time_point now, std::chrono::milliseconds grace);
  void end_all();
  /// Calls that run or wait, of all.
  std::size_t busy() const;
  std::size_t size() const { return all_.size(); }

private:
  outcome resume(const std::shared_ptr<ws_session>& one,
                 const resume_request& asked, listener by);

  web_budget& budget_;
  const std::size_t most_;
  std::unordered_map<std::string, std::shared_ptr<ws_session>> all_;
};

} // namespace caged::mcp
