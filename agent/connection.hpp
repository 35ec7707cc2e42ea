#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/files.hpp"
#include "agent/stream.hpp"
#include "agent/unique_fd.hpp"
#include "messages/agent_protocol.hpp"

namespace caged::agent {

/// One client of the socket: its lines, its answers, the streams attached to
/// it. Answers go before data; a client that does not read its answers is not
/// read from either.
class connection {
public:
  connection(server& owner, unique_fd fd, std::uint64_t number);
  ~connection();
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  std::uint64_t number() const noexcept { return number_; }
  bool dead() const noexcept { return dead_; }
  /// Nothing is sent or read any more; the server frees it after this step.
  void die();

  // -- sending ---------------------------------------------------------------
  void send(std::string bytes);
  /// No answer for a message without id.
  void reply(std::optional<std::uint64_t> id, const nlohmann::json& payload,
             std::string_view type = "result");
  void error(std::optional<std::uint64_t> id, const failure& why,
             std::string_view stream = {}, std::string_view channel = {});
  /// Sends what can be sent now: answers, then data of the streams in turn.
  void flush();
  /// Bytes of answers that wait.
  std::size_t queued() const noexcept { return out_.size() - out_at_; }
  /// Bytes of input that wait.
  std::size_t unfinished() const noexcept {
    return reader_.buffered() + held_.size();
  }
  bool idle() const noexcept { return !frame_ && queued() == 0; }
  void drop_unfinished();

  // -- streams ---------------------------------------------------------------
  void add(stream& what);
  void detach(stream& what);
  /// Copies the rest of a frame of `what` that was begun: its pages may go.
  void finish_frame(stream& what);

  // -- what hello has settled ------------------------------------------------
  void set_raw(bool on) {
    raw_ = on;
    reader_.allow_raw(on);
  }
  bool raw() const noexcept { return raw_; }
  bool greeted = false, heartbeats = false, metrics = false;

  std::map<std::string, std::unique_ptr<upload>> uploads;

private:
  /// Data on its way into the socket, straight from the pages it is kept in.
  struct frame { // all zero by emplace(); initializers here trip clang 14
    std::string head;
    std::size_t head_at;
    stream* from;
    std::size_t channel;
    std::uint64_t at, end;
  };
  void on_event(std::uint32_t events);
  void read(bool hung_up);
  void process(std::string_view bytes);
  bool send_frame();
  bool send_queue();
  bool next_frame();
  bool frame_of(stream& from);
  bool holds(output_channel& out, std::uint64_t end);
  void watch(bool for_room);

  server& owner_;
  unique_fd fd_;
  std::uint64_t number_;
  agent_protocol::line_reader reader_;
  std::string held_; ///< read, but waits until answers were sent
  std::string out_;
  std::size_t out_at_ = 0;
  std::optional<frame> frame_;
  std::vector<stream*> streams_;
  std::size_t turn_ = 0;
  std::optional<event_loop::timer_id> hold_timer_;
  bool raw_ = false;
  bool ended_ = false; ///< the client sends no more, but may still read
  bool dead_ = false;
};

} // namespace caged::agent
