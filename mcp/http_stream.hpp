#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "mcp/replay.hpp"
#include "mcp/session.hpp"
#include "mcp/web_budget.hpp"

namespace caged::mcp {

/// The messages that answer one POST, or those of a session's GET stream, on
/// their way to one connection at a time. With a store (2025-11-25 and before)
/// it outlives its connection: what is sent meanwhile is kept in the store, as
/// long as there is room, and a later connection goes on. Without one
/// (2026-07-28) the end of the connection is the end of the stream.
class http_stream final : public outlet {
public:
  /// On the I/O thread. `store` null: none. `budget` must outlive close().
  http_stream(web_budget& budget, std::shared_ptr<replay_store> store,
              std::uint64_t number);

  bool send(std::string message) override;
  void finished() override;

  // The I/O thread alone:
  std::uint64_t number() const { return number_; }
  bool resumable() const { return store_ != nullptr; }
  /// What a connection wants to hear: `wake` from any thread when there is
  /// something new, `evicted` on the I/O thread when another connection took
  /// the stream over; the old one must not touch it any more.
  struct listener {
    std::function<void()> wake, evicted;
  };
  void attach(listener by);
  /// The same for a client that has seen this event and comes back. False: what
  /// followed is not kept any more; nothing changed.
  bool attach_after(const event_id& last, listener by);
  /// The connection went away.
  void detach();
  bool attached() const;
  /// From now on this is a stream of events, to which a client may come back;
  /// until then it is one answer, which is lost with its connection.
  void record();
  /// Nobody wants it any more.
  void close();

  /// Takes the next message. Its bytes count until written().
  bool take(stream_event& event);
  void written(std::size_t bytes);
  struct progress {
    std::size_t waiting = 0; ///< Messages to take.
    bool finished = false;   ///< None follow.
  };
  /// Ends the wait that a wake announced, as take() does.
  progress look();
  /// Number of the newest message, 0 before the first.
  std::uint64_t last() const;

private:
  void push(stream_event event);
  void wake_locked();
  void drop_pending();

  const std::thread::id io_ = std::this_thread::get_id();
  web_budget& budget_;
  const std::shared_ptr<replay_store> store_;
  const std::uint64_t number_;

  mutable std::mutex lock_;
  std::condition_variable room_;
  listener listener_; ///< Set while there is a connection.
  std::deque<stream_event> pending_;
  std::size_t bytes_ = 0; ///< Pending, or taken and not yet written.
  std::uint64_t last_ = 0;
  bool attached_ = false;
  bool recording_ = false;
  bool lost_ = false; ///< It had a connection once.
  bool woken_ = false;
  bool finished_ = false;
  bool closed_ = false;
};

} // namespace caged::mcp
