#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/loop.hpp"
#include "agent/retention.hpp"
#include "messages/error.hpp"

namespace caged::agent {

class connection;
class server;

/// Bytes towards a process or socket inside. What was received but does not
/// fit into the pipe waits in `pending`; the limit keeps it small.
struct input_channel {
  bool present = false;
  unique_fd fd;
  std::uint64_t received = 0; ///< next offset wanted
  std::uint64_t written = 0;  ///< what is acknowledged
  std::uint64_t limit = 0;    ///< granted credit
  std::string pending;        ///< [written, received)
  std::optional<std::uint64_t> eof_at;
  bool closed = false; ///< ended, or nobody reads: the rest counts as written
  char last = '\n';    ///< last byte written (a terminal's ^D depends on it)
  std::uint64_t window = 0;
};

/// Bytes from a process or socket inside.
struct output_channel {
  explicit output_channel(page_pool& pool) : kept{pool} {}

  bool present = false;
  unique_fd fd;
  retention kept;
  std::uint64_t sent = 0; ///< handed over whole, in this attachment
  std::uint64_t sent_highest = 0;
  std::uint64_t credit = 0;
  bool ended = false;    ///< nothing more will be read
  bool eof_sent = false; ///< in this attachment
  bool stalled = false;  ///< not watched: no room
  /// A small frame waits for more bytes until then, see connection::holds.
  std::optional<clock::time_point> hold_until;
  /// After the grace period: what may still be read of it.
  std::optional<std::uint64_t> drain_left;
};

/// What exec and dial have in common: a name, an input, one or two outputs,
/// offsets and credit (agent_protocol.md, section 5). Belongs to the server;
/// at most one connection is attached.
class stream {
public:
  stream(server& owner, std::string name);
  virtual ~stream();
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  const std::string& name() const noexcept { return name_; }
  connection* link() const noexcept { return link_; }

  /// Makes `to` the receiver; who was attached is told `superseded`.
  void attach(connection& to);
  /// The connection is gone.
  virtual void detached() { link_ = nullptr; }

  // -- what the peer sends; errors are answered to it ------------------------
  result<void> on_data(std::string_view channel, std::uint64_t offset,
                       std::string_view bytes);
  virtual result<void> on_ack(std::string_view channel, std::uint64_t offset);
  result<void> on_credit(std::string_view channel, std::uint64_t limit);
  result<void> on_eof(std::string_view channel, std::uint64_t offset);

  /// The next line that is no data, once everything before it was sent:
  /// eof, exit, close. Empty: none is due.
  virtual std::string next_notice();

  output_channel& output(std::size_t index) { return outputs_[index]; }
  virtual std::string_view output_name(std::size_t index) const;
  input_channel& input() noexcept { return input_; }
  static constexpr std::size_t outputs = 2;

  /// Goes on with outputs that had no room.
  void resume_reading();
  /// Tells the peer how far its input may go.
  void grant_input();

protected:
  /// Index of an output channel; error: bad_request.
  result<output_channel*> find_output(std::string_view channel);
  virtual std::string_view input_name() const { return "stdin"; }
  /// How `input` ends: close a pipe, ^D on a terminal, shut a socket down.
  virtual void end_input() = 0;
  /// An output has ended, or input is written: perhaps it is all over.
  virtual void progressed() {}
  void watch_output(std::size_t index);
  void read_output(std::size_t index);
  void end_output(std::size_t index);
  void write_input();
  void drop_input(); ///< nobody reads: everything counts as written

  server& owner_;
  std::string name_;
  connection* link_ = nullptr;
  input_channel input_;
  output_channel outputs_[outputs];

private:
  void tell_input();
};

} // namespace caged::agent
