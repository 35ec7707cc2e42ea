#include "agent/connection.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "agent/server.hpp"
#include "messages/text.hpp"

namespace caged::agent {

namespace {

/// Answers that may wait before the client is no longer read from.
constexpr std::size_t queue_high = 8 * 1024;
/// Raw bytes of one frame; as base64 less, since those are copied.
constexpr std::size_t raw_frame = limits::agent_raw_max;
constexpr std::size_t text_frame = 24 * 1024;
/// A frame that is not full waits so long for more while the client has bytes
/// that it did not acknowledge: a writer of small pieces costs few frames, and
/// one piece alone is sent at once (as RFC 896 does for TCP).
constexpr auto hold_most = std::chrono::milliseconds(2);
/// Frames of one turn: then other descriptors are looked at.
constexpr int frames_per_turn = 8;

/// One buffer for all: its content is used up before the next read.
std::array<char, 64 * 1024> input_buffer;

} // namespace

connection::connection(server& owner, unique_fd fd, std::uint64_t number)
    : owner_{owner}, fd_{std::move(fd)}, number_{number} {
  if (!owner_.loop().watch(fd_.get(), EPOLLIN,
                           [this](auto events) { on_event(events); }))
    dead_ = true;
}

connection::~connection() {
  die();
}

void connection::die() {
  if (!fd_)
    return;
  dead_ = true;
  owner_.loop().forget(fd_.get());
  if (hold_timer_)
    owner_.loop().cancel(*hold_timer_);
  frame_.reset();
  while (!streams_.empty()) {
    auto* last = streams_.back();
    streams_.pop_back();
    last->detached();
  }
  uploads.clear();
  std::string{}.swap(out_);
  out_at_ = 0;
  std::string{}.swap(held_);
  fd_.reset();
}

void connection::on_event(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0)
    flush();
  if (dead_ || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0)
    return;
  // A hang-up is both directions: nobody is left to send answers to. The end
  // of input alone (a client that has asked all it wants) is no reason to go.
  if ((events & EPOLLIN) == 0)
    die();
  else
    read((events & EPOLLHUP) != 0);
}

void connection::watch(bool for_room) {
  std::uint32_t events = held_.empty() && !ended_ ? EPOLLIN : 0U;
  if (for_room)
    events |= EPOLLOUT;
  owner_.loop().watch(fd_.get(), events);
}

void connection::read(bool hung_up) {
  auto got =
      ::recv(fd_.get(), input_buffer.data(), input_buffer.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (got < 0 || (got == 0 && hung_up)) {
    die();
  } else if (got == 0) {
    ended_ = true;
    watch(!idle());
  } else {
    process({input_buffer.data(), static_cast<std::size_t>(got)});
  }
}

void connection::process(std::string_view bytes) {
  reader_.feed(bytes);
  while (auto message = reader_.next()) {
    if (*message)
      owner_.dispatch(*this, **message);
    else
      error(reader_.last_id(), message->error());
    if (dead_)
      return;
    if (queued() <= queue_high)
      continue;
    flush();
    if (dead_)
      return;
    if (queued() > queue_high) {
      // Copied first: the rest may be part of what is held already.
      std::string rest{reader_.take_rest()};
      held_ = std::move(rest);
      watch(true);
      break;
    }
  }
  owner_.wants_flush(this);
  owner_.check_input(*this);
}

void connection::drop_unfinished() {
  reader_.drop_unfinished();
}

// -- sending -----------------------------------------------------------------

void connection::send(std::string bytes) {
  if (dead_)
    return;
  if (out_.empty() && bytes.size() > queue_high)
    out_ = std::move(bytes); // a long answer is in memory once
  else
    out_.append(bytes);
  owner_.wants_flush(this);
}

void connection::reply(std::optional<std::uint64_t> id,
                       const nlohmann::json& payload, std::string_view type) {
  if (id)
    send(agent_protocol::encode_line(type, id, payload));
}

void connection::error(std::optional<std::uint64_t> id, const failure& why,
                       std::string_view stream, std::string_view channel) {
  nlohmann::json payload = {{"code", to_string(why.code)},
                            {"message", escape_text(why.message)}};
  if (!stream.empty())
    payload["stream"] = stream;
  if (!channel.empty())
    payload["channel"] = channel;
  send(agent_protocol::encode_line("error", id, payload));
}

bool connection::send_queue() {
  while (out_at_ < out_.size()) {
    auto sent = ::send(fd_.get(), out_.data() + out_at_, out_.size() - out_at_,
                       MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR)
        continue;
      if (errno == EAGAIN) {
        if (out_at_ > queue_high) {
          out_.erase(0, out_at_);
          out_at_ = 0;
        }
        return false;
      }
      die();
      return false;
    }
    out_at_ += static_cast<std::size_t>(sent);
  }
  out_at_ = 0;
  if (out_.capacity() > queue_high)
    std::string{}.swap(out_);
  else
    out_.clear();
  return true;
}

bool connection::send_frame() {
  auto& now = *frame_;
  auto& channel = now.from->output(now.channel);
  while (now.head_at < now.head.size() || now.at < now.end) {
    std::array<iovec, 18> pieces;
    std::size_t count = 0;
    auto head_left = now.head.size() - now.head_at;
    if (head_left > 0)
      pieces[count++] = {now.head.data() + now.head_at, head_left};
    count += channel.kept.gather(now.at, now.end, pieces.data() + count,
                                 pieces.size() - count);
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    auto sent = ::sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR)
        continue;
      if (errno != EAGAIN)
        die();
      return false;
    }
    auto bytes = static_cast<std::size_t>(sent);
    auto of_head = std::min(bytes, head_left);
    now.head_at += of_head;
    now.at += bytes - of_head;
  }
  // Only a whole frame counts as sent: an acknowledgement of a part, which
  // would free the pages under it, is refused.
  channel.sent = now.end;
  channel.sent_highest = std::max(channel.sent_highest, channel.sent);
  frame_.reset();
  return true;
}

bool connection::holds(output_channel& out, std::uint64_t end) {
  if (end - out.sent >= raw_frame || out.ended || out.stalled
      || out.sent <= out.kept.base()) {
    out.hold_until.reset();
    return false;
  }
  auto now = clock::now();
  if (!out.hold_until)
    out.hold_until = now + hold_most;
  if (now >= *out.hold_until) {
    out.hold_until.reset();
    return false;
  }
  if (!hold_timer_)
    hold_timer_ = owner_.loop().after(*out.hold_until - now, [this] {
      hold_timer_.reset();
      owner_.wants_flush(this);
    });
  return true;
}

bool connection::frame_of(stream& from) {
  for (std::size_t i = 0; i < stream::outputs; ++i) {
    auto& out = from.output(i);
    auto end = std::min(out.kept.end(), out.credit);
    if (!out.present || end <= out.sent)
      continue;
    if (raw_ && holds(out, end))
      continue;
    end = std::min(end, out.sent + (raw_ ? raw_frame : text_frame));
    auto size = static_cast<std::size_t>(end - out.sent);
    nlohmann::json payload = {{"stream", from.name()},
                              {"channel", from.output_name(i)},
                              {"offset", out.sent}};
    if (raw_) {
      payload["len"] = size;
      frame_.emplace();
      frame_->head = agent_protocol::encode_line("data", {}, payload);
      frame_->from = &from;
      frame_->channel = i;
      frame_->at = out.sent;
      frame_->end = end;
    } else {
      static std::array<char, text_frame> bytes;
      out.kept.copy(out.sent, end, bytes.data());
      out_ += agent_protocol::encode_data("data", {}, std::move(payload),
                                          {bytes.data(), size}, false);
      out.sent = end;
      out.sent_highest = std::max(out.sent_highest, end);
    }
    return true;
  }
  auto notice = from.next_notice();
  if (notice.empty())
    return false;
  out_ += notice;
  return true;
}

bool connection::next_frame() {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    if (turn_ >= streams_.size())
      turn_ = 0;
    if (frame_of(*streams_[turn_++]))
      return true;
  }
  return false;
}

void connection::flush() {
  for (int turn = 0; !dead_; ++turn) {
    if (frame_ && !send_frame())
      break;
    if (!send_queue())
      break;
    if (!held_.empty()) {
      auto rest = std::exchange(held_, {});
      watch(false);
      process(rest);
      continue;
    }
    if (turn >= frames_per_turn || !next_frame())
      break;
  }
  if (!dead_)
    watch(!idle() || (!streams_.empty() && next_frame()));
}

// -- streams -----------------------------------------------------------------

void connection::add(stream& what) {
  streams_.push_back(&what);
  owner_.wants_flush(this);
}

void connection::finish_frame(stream& what) {
  if (frame_ && frame_->from == &what) {
    // A frame that was begun has to be ended: the client counts its bytes.
    auto& now = *frame_;
    auto rest = now.head.substr(now.head_at);
    auto head = rest.size();
    rest.resize(head + static_cast<std::size_t>(now.end - now.at));
    what.output(now.channel).kept.copy(now.at, now.end, rest.data() + head);
    out_.insert(out_at_, rest);
    frame_.reset();
  }
}

void connection::detach(stream& what) {
  finish_frame(what);
  streams_.erase(std::remove(streams_.begin(), streams_.end(), &what),
                 streams_.end());
  what.detached();
}

} // namespace caged::agent
