#include "cli/exec_stream.hpp"

#include <algorithm>

namespace caged::cli {

namespace {

/// As far as a window grows for a reader that keeps up; with both channels
/// full the client still stays within its 8 MB.
constexpr std::uint64_t window_most = 1024 * 1024;

} // namespace

exec_stream::exec_stream(api::exec want) : want_{std::move(want)} {}

exec_stream::output& exec_stream::side(api::channel on) {
  return on == api::channel::err ? err_ : out_;
}

const exec_stream::output& exec_stream::side(api::channel on) const {
  return on == api::channel::err ? err_ : out_;
}

api::exec exec_stream::attach() {
  // What is received but not written is kept: the node goes on behind it.
  for (auto* from : {&out_, &err_}) {
    from->credit = std::max(from->credit, from->written + from->window);
    from->acked = from->next; // by naming the offset
  }
  want_.stdout_offset = out_.next;
  want_.stderr_offset = err_.next;
  want_.stdout_credit = out_.credit;
  want_.stderr_credit = err_.credit;
  in_sent_ = in_acked_;
  in_credit_ = 0; // granted anew
  in_end_sent_ = false;
  exit_.reset();
  due_.clear();
  return want_;
}

result<void> exec_stream::take_data(api::stream_data& data) {
  if (data.on != api::channel::out && data.on != api::channel::err)
    return fail(ec::malformed, "the node sent data on a channel of its own");
  auto& to = side(data.on);
  auto end = data.offset + data.bytes.size();
  if (data.offset > to.next && want_.attach_only) {
    // The node's log had no room for what lies before it.
    auto gap = data.offset - to.next;
    dropped_ += gap;
    to.next += gap;
    to.written += gap;
    to.credit = std::max(to.credit, to.next + to.window);
    due_.emplace_back(api::stream_credit{to.on, to.credit});
    end = data.offset + data.bytes.size();
  }
  if (data.offset > to.next)
    return fail(ec::malformed, "output is missing: byte "
                                   + std::to_string(to.next) + " was expected, "
                                   + std::to_string(data.offset) + " came");
  if (end > to.credit)
    return fail(ec::malformed, "the node sent more than it may");
  if (end <= to.next)
    return {}; // a repeat
  if (data.offset < to.next)
    data.bytes.erase(0, static_cast<std::size_t>(to.next - data.offset));
  to.next = end;
  if (to.discarded)
    to.written = end;
  else
    to.blocks.push_back(std::move(data.bytes));
  return {};
}

result<void> exec_stream::take(api::reply_body& body) {
  if (auto* data = std::get_if<api::stream_data>(&body))
    return take_data(*data);
  if (auto* ack = std::get_if<api::stream_ack>(&body)) {
    if (want_.attach_only && in_read_ == 0) // an earlier client's stdin
      in_read_ = in_acked_ = in_sent_ = ack->offset;
    if (ack->on != api::channel::in || ack->offset > in_read_)
      return fail(ec::malformed, "the node acknowledged what was not sent");
    while (in_acked_ < ack->offset && !in_blocks_.empty()) {
      auto& first = in_blocks_.front();
      auto gone =
          std::min<std::uint64_t>(first.size(), ack->offset - in_acked_);
      in_acked_ += gone;
      if (gone == first.size())
        in_blocks_.pop_front();
      else
        first.erase(0, static_cast<std::size_t>(gone));
    }
    in_sent_ = std::max(in_sent_, in_acked_);
  } else if (auto* credit = std::get_if<api::stream_credit>(&body)) {
    if (credit->on == api::channel::in)
      in_credit_ = std::max(in_credit_, credit->limit);
  } else if (auto* eof = std::get_if<api::stream_eof>(&body)) {
    if (eof->on == api::channel::out || eof->on == api::channel::err)
      side(eof->on).end = eof->offset;
  } else if (auto* begun = std::get_if<api::exec_started>(&body)) {
    (void)begun;
    started_ = true;
  } else if (auto* ended = std::get_if<api::exec_exit>(&body)) {
    exit_ = std::move(*ended);
  } else if (auto* error = std::get_if<api::error_reply>(&body)) {
    return tl::unexpected<failure>(error->why);
  }
  return {};
}

std::string_view exec_stream::pending(api::channel on) const {
  const auto& from = side(on);
  if (from.blocks.empty())
    return {};
  return std::string_view{from.blocks.front()}.substr(from.head);
}

void exec_stream::written(api::channel on, std::size_t bytes) {
  auto& from = side(on);
  from.written += bytes;
  from.head += bytes;
  if (!from.blocks.empty() && from.head >= from.blocks.front().size()) {
    from.blocks.pop_front();
    from.head = 0;
  }
  // All is written and the sender is near its limit: the window is what holds
  // the stream up.
  if (from.blocks.empty() && from.credit - from.next < from.window / 2)
    from.window = std::min(from.window * 2, window_most);
}

void exec_stream::discard(api::channel on) {
  auto& from = side(on);
  from.discarded = true;
  from.blocks.clear();
  from.head = 0;
  from.written = from.next;
}

std::size_t exec_stream::stdin_room() const {
  if (in_ended_ || exit_ || in_read_ >= in_credit_)
    return 0;
  return static_cast<std::size_t>(
      std::min<std::uint64_t>(in_credit_ - in_read_, limits::frame_max));
}

void exec_stream::stdin_bytes(std::string bytes) {
  in_read_ += bytes.size();
  in_blocks_.push_back(std::move(bytes));
}

void exec_stream::stdin_end() {
  in_ended_ = true;
}

std::vector<api::request_body> exec_stream::outgoing() {
  auto out = std::move(due_);
  due_.clear();
  for (auto* from : {&out_, &err_}) {
    // Every half window, or when the reader has caught up.
    auto fresh = from->written - std::min(from->written, from->acked);
    if (fresh > 0 && (from->blocks.empty() || fresh >= from->window / 2)) {
      out.emplace_back(api::stream_ack{from->on, from->written});
      from->acked = from->written;
    }
    auto limit = from->written + from->window;
    if (limit > from->credit && from->acked == from->written
        && (limit - from->credit >= from->window / 4)) {
      out.emplace_back(api::stream_credit{from->on, limit});
      from->credit = limit;
    }
  }
  auto offset = in_acked_;
  for (const auto& block : in_blocks_) {
    auto end = offset + block.size();
    if (end > in_credit_)
      break; // after a loss: until credit is granted anew
    if (end > in_sent_) {
      auto skip =
          static_cast<std::size_t>(in_sent_ - std::min(in_sent_, offset));
      out.emplace_back(api::stream_data{api::channel::in, offset + skip,
                                        block.substr(skip)});
      in_sent_ = end;
    }
    offset = end;
  }
  if (in_ended_ && !in_end_sent_ && started_ && in_sent_ == in_read_
      && !exit_) {
    out.emplace_back(api::stream_eof{api::channel::in, in_read_});
    in_end_sent_ = true;
  }
  return out;
}

bool exec_stream::ended(api::channel on) const {
  const auto& from = side(on);
  return from.end && from.blocks.empty() && from.next >= *from.end;
}

bool exec_stream::finished() const {
  auto is_done = [](const output& from) {
    return from.blocks.empty() && (!from.end || from.next >= *from.end);
  };
  return exit_ && is_done(out_) && is_done(err_);
}

} // namespace caged::cli
