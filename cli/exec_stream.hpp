#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "messages/client_api.hpp"

namespace caged::cli {

/// The client's end of one exec: offsets, credit and acknowledgements of its
/// streams (DESIGN.md, section 6). Does no input or output itself: the loop in
/// exec.cpp feeds it, tests do too.
class exec_stream {
public:
  /// `want` is what is asked for; offsets and credit are set here.
  explicit exec_stream(api::exec want);

  /// The request to send first, and again after every loss.
  api::exec attach();

  /// Takes a message of the node. Errors: the node's own; malformed, when it
  /// breaks the protocol.
  result<void> take(api::reply_body& body);

  /// Output that waits to be written; empty when there is none.
  std::string_view pending(api::channel on) const;
  /// So many bytes of pending() are with the reader.
  void written(api::channel on, std::size_t bytes);
  /// Nobody reads the channel any more: what comes is dropped, with credit.
  void discard(api::channel on);

  /// How many bytes of stdin may be read now; 0 pauses the reader.
  std::size_t stdin_room() const;
  void stdin_bytes(std::string bytes);
  void stdin_end();

  /// What has to be sent now, in this order.
  std::vector<api::request_body> outgoing();

  /// The channel's end was reached and all before it is written.
  bool ended(api::channel on) const;
  /// Bytes of a replayed log that the node had dropped.
  std::uint64_t dropped() const noexcept { return dropped_; }

  bool started() const noexcept { return started_; }
  /// The command ended and all its output is written.
  bool finished() const;
  /// Nothing before the end.
  const std::optional<api::exec_exit>& exit() const noexcept { return exit_; }

private:
  struct output {
    explicit output(api::channel which) : on{which} {}
    api::channel on;
    std::uint64_t next = 0;    ///< received so far
    std::uint64_t written = 0; ///< accepted by the reader
    std::uint64_t acked = 0;   ///< told to the node
    std::uint64_t credit = 0;  ///< granted
    std::uint64_t window = limits::window_default;
    std::deque<std::string> blocks; ///< written..next, but for `head`
    std::size_t head = 0;           ///< bytes of blocks.front() written
    std::optional<std::uint64_t> end;
    bool discarded = false;
  };

  output& side(api::channel on);
  const output& side(api::channel on) const;
  result<void> take_data(api::stream_data& data);

  api::exec want_;
  output out_{api::channel::out};
  output err_{api::channel::err};

  /// stdin: frames that the other side has not acknowledged.
  std::deque<std::string> in_blocks_;
  std::uint64_t in_acked_ = 0; ///< offset of in_blocks_.front()
  std::uint64_t in_read_ = 0;  ///< read from our stdin
  std::uint64_t in_sent_ = 0;
  std::uint64_t in_credit_ = 0;
  bool in_ended_ = false, in_end_sent_ = false;

  bool started_ = false;
  std::uint64_t dropped_ = 0;
  std::optional<api::exec_exit> exit_;
  std::vector<api::request_body> due_;
};

} // namespace caged::cli
