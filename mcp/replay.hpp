#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mcp/web_budget.hpp"
#include "mcp/web_rules.hpp"

namespace caged::mcp {

/// One message of a stream, numbered from 1 on; shared by what sends it and by
/// what keeps it.
struct stream_event {
  event_id id;
  std::shared_ptr<const std::string> text;
};

/// What a session's streams sent last, to be sent again to a client that lost
/// its connection (2025-11-25, basic/transports, "Resumability and
/// Redelivery"). Bounded over all streams of the session; the oldest go first.
/// Any thread.
class replay_store {
public:
  explicit replay_store(const web_budget& budget) : budget_{budget} {}

  /// A stream that has no event yet, but a client that may come back to it.
  void open(std::uint64_t stream);
  /// Keeps an event. Those of one stream come in order.
  void add(const stream_event& event);
  /// Nothing more comes on this stream.
  void finish(std::uint64_t stream);
  /// The events of its stream that followed this one. Nothing: some of them, or
  /// the stream, are not known any more.
  std::optional<std::vector<stream_event>> after(const event_id& last) const;
  /// Whether anything of the stream can still be asked for.
  bool knows(std::uint64_t stream) const;
  /// Events of the stream that can be asked for: its newest.
  std::size_t kept(std::uint64_t stream) const;
  /// Applies the budget, which shrinks as sessions get more.
  void trim();
  /// With what an event costs beside its text.
  std::size_t bytes() const;

private:
  struct stream {
    std::uint64_t last = 0; ///< Number of its newest event.
    std::size_t kept = 0;   ///< Events in `events_`.
    bool finished = false;
  };
  void trim_locked();

  const web_budget& budget_;
  mutable std::mutex lock_;
  std::deque<stream_event> events_; ///< Oldest first, all streams.
  std::map<std::uint64_t, stream> streams_;
  std::size_t bytes_ = 0;
};

} // namespace caged::mcp
