#include "agent/stream.hpp"

#include <algorithm>
#include <cerrno>

#include <sys/epoll.h>

#include "agent/connection.hpp"
#include "agent/server.hpp"
#include "messages/text.hpp"

namespace caged::agent {

namespace {

/// Bytes of one read; a pipe holds as much by default (pipe(7)).
constexpr std::size_t read_size = 64 * 1024;
/// First credit of an input, and the most it grows to while it is used.
constexpr std::uint64_t window_first = 4 * 1024;
constexpr std::uint64_t window_most = 64 * 1024;
/// A stalled output goes on when so much fits again, not for a few bytes.
constexpr std::size_t resume_room = 4 * page_pool::page_size;

} // namespace

stream::stream(server& owner, std::string name)
    : owner_{owner},
      name_{std::move(name)},
      outputs_{output_channel{owner.pool()}, output_channel{owner.pool()}} {}

stream::~stream() {
  if (link_)
    link_->detach(*this);
  if (input_.fd)
    owner_.loop().forget(input_.fd.get());
  for (auto& out : outputs_)
    if (out.fd)
      owner_.loop().forget(out.fd.get());
  owner_.take_back(input_.limit - input_.written);
}

std::string_view stream::output_name(std::size_t index) const {
  return index == 0 ? "stdout" : "stderr";
}

void stream::attach(connection& to) {
  if (link_) {
    auto* before = link_;
    before->detach(*this);
    if (before != &to)
      before->error({},
                    failure{ec::superseded,
                            "another connection attached to " + name_,
                            {}},
                    name_);
  }
  link_ = &to;
  to.add(*this);
}

result<output_channel*> stream::find_output(std::string_view channel) {
  for (std::size_t i = 0; i < outputs; ++i)
    if (outputs_[i].present && channel == output_name(i))
      return &outputs_[i];
  return fail(ec::bad_request,
              "the stream sends nothing on channel " + quoted(channel));
}

// -- output ------------------------------------------------------------------

void stream::watch_output(std::size_t index) {
  auto& out = outputs_[index];
  if (!owner_.loop().watch(out.fd.get(), EPOLLIN,
                           [this, index](auto) { read_output(index); }))
    end_output(index);
}

void stream::end_output(std::size_t index) {
  auto& out = outputs_[index];
  if (out.ended)
    return;
  owner_.loop().forget(out.fd.get());
  out.fd.reset();
  out.ended = true;
  out.stalled = false;
  owner_.wants_flush(link_);
  progressed();
}

void stream::read_output(std::size_t index) {
  auto& out = outputs_[index];
  // Twice: what a writer adds while its first pipe full is taken.
  for (int round = 0; round < 2 && !out.ended; ++round) {
    auto max = read_size;
    if (out.drain_left)
      max = static_cast<std::size_t>(
          std::min<std::uint64_t>(max, *out.drain_left));
    if (max == 0) {
      end_output(index);
      break;
    }
    auto got = out.kept.fill(out.fd.get(), max);
    if (got > 0) {
      if (out.drain_left)
        *out.drain_left -= static_cast<std::uint64_t>(got);
      if (static_cast<std::size_t>(got) < page_pool::page_size
          && !out.drain_left)
        break; // surely empty now: the next epoll_wait is cheaper
      continue;
    }
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0 && errno == EAGAIN) {
      if (out.drain_left)
        end_output(index);
      break;
    }
    if (got < 0 && errno == ENOBUFS) {
      // A hang-up is reported even for no events: so it has to be forgotten.
      owner_.loop().forget(out.fd.get());
      out.stalled = true;
      break;
    }
    end_output(index); // the end, or EIO of a terminal without a slave
  }
  owner_.wants_flush(link_);
}

void stream::resume_reading() {
  for (std::size_t i = 0; i < outputs; ++i) {
    auto& out = outputs_[i];
    if (!out.stalled)
      continue;
    auto room = out.kept.allowance();
    if (room < resume_room && (room == 0 || out.kept.base() != out.kept.end()))
      continue;
    out.stalled = false;
    watch_output(i);
  }
}

result<void> stream::on_ack(std::string_view channel, std::uint64_t offset) {
  auto out = find_output(channel);
  if (!out)
    return tl::unexpected{out.error()};
  if (offset > (*out)->sent)
    return fail(ec::bad_request, "ack of " + std::string{channel} + " at "
                                     + std::to_string(offset) + ", but only "
                                     + std::to_string((*out)->sent)
                                     + " bytes were sent");
  (*out)->kept.release(offset);
  owner_.room_was_made();
  return {};
}

result<void> stream::on_credit(std::string_view channel, std::uint64_t limit) {
  auto out = find_output(channel);
  if (!out)
    return tl::unexpected{out.error()};
  (*out)->credit = std::max((*out)->credit, limit);
  owner_.wants_flush(link_);
  return {};
}

std::string stream::next_notice() {
  for (std::size_t i = 0; i < outputs; ++i) {
    auto& out = outputs_[i];
    if (!out.present || !out.ended || out.eof_sent
        || out.sent != out.kept.end())
      continue;
    out.eof_sent = true;
    return agent_protocol::encode_line("eof", {},
                                       {{"stream", name_},
                                        {"channel", output_name(i)},
                                        {"offset", out.kept.end()}});
  }
  return {};
}

// -- input -------------------------------------------------------------------

result<void> stream::on_data(std::string_view channel, std::uint64_t offset,
                             std::string_view bytes) {
  auto& in = input_;
  if (!in.present || channel != input_name())
    return fail(ec::bad_request,
                "the stream takes nothing on channel " + quoted(channel));
  if (offset > in.received)
    return fail(ec::bad_request, "a gap: " + std::string{channel}
                                     + " goes on at "
                                     + std::to_string(in.received) + ", not at "
                                     + std::to_string(offset));
  auto end = offset + bytes.size();
  if (end <= in.received) {
    tell_input(); // a repeat: its acknowledgement may have been lost
    return {};
  }
  if (in.eof_at)
    return fail(ec::bad_request, std::string{channel} + " has ended at "
                                     + std::to_string(*in.eof_at));
  if (end > in.limit)
    return fail(ec::bad_request,
                std::string{channel} + " up to " + std::to_string(end)
                    + " goes beyond its credit of " + std::to_string(in.limit));
  bytes.remove_prefix(static_cast<std::size_t>(in.received - offset));
  in.received = end;
  if (in.closed) {
    drop_input();
    return {};
  }
  // Mostly the pipe has room: then nothing is copied.
  if (in.pending.empty()) {
    auto done = ::write(in.fd.get(), bytes.data(), bytes.size());
    if (done < 0 && errno != EAGAIN && errno != EINTR) {
      drop_input();
      return {};
    }
    if (done > 0) {
      in.written += static_cast<std::uint64_t>(done);
      owner_.take_back(static_cast<std::uint64_t>(done));
      in.last = bytes[static_cast<std::size_t>(done) - 1];
      bytes.remove_prefix(static_cast<std::size_t>(done));
    }
  }
  if (bytes.empty()) {
    grant_input();
    return {};
  }
  in.pending.append(bytes);
  if (!owner_.loop().watch(in.fd.get(), EPOLLOUT,
                           [this](auto) { write_input(); }))
    drop_input();
  else
    tell_input();
  return {};
}

void stream::write_input() {
  auto& in = input_;
  auto done = ::write(in.fd.get(), in.pending.data(), in.pending.size());
  if (done < 0) {
    if (errno != EAGAIN && errno != EINTR)
      drop_input();
    return;
  }
  if (done > 0)
    in.last = in.pending[static_cast<std::size_t>(done) - 1];
  in.pending.erase(0, static_cast<std::size_t>(done));
  in.written += static_cast<std::uint64_t>(done);
  owner_.take_back(static_cast<std::uint64_t>(done));
  if (in.pending.empty()) {
    std::string{}.swap(in.pending);
    owner_.loop().forget(in.fd.get());
    if (in.eof_at && !in.closed)
      end_input();
  }
  grant_input();
  progressed();
}

void stream::drop_input() {
  auto& in = input_;
  if (in.fd)
    owner_.loop().forget(in.fd.get());
  in.fd.reset();
  in.closed = true;
  std::string{}.swap(in.pending);
  owner_.take_back(in.received - in.written);
  in.written = in.received;
  grant_input();
  progressed();
}

result<void> stream::on_eof(std::string_view channel, std::uint64_t offset) {
  auto& in = input_;
  if (!in.present || channel != input_name())
    return fail(ec::bad_request,
                "the stream takes nothing on channel " + quoted(channel));
  if (offset != in.received)
    return fail(ec::bad_request, "eof of " + std::string{channel} + " at "
                                     + std::to_string(offset)
                                     + ", but its end is "
                                     + std::to_string(in.received));
  if (in.eof_at)
    return {};
  in.eof_at = offset;
  if (in.pending.empty() && !in.closed)
    end_input();
  tell_input();
  progressed();
  return {};
}

/// Credit starts small and doubles while the peer uses it all, so that many
/// idle inputs together cost little; the server bounds the sum.
void stream::grant_input() {
  auto& in = input_;
  if (!in.present)
    return;
  if (!in.eof_at) {
    if (in.window == 0)
      in.window = window_first;
    else if (in.received == in.limit)
      in.window = std::min(in.window * 2, window_most);
    auto wanted = in.written + in.window;
    if (wanted > in.limit) {
      auto more = owner_.promise(wanted - in.limit, in.limit == in.received);
      in.limit += more;
    }
  }
  tell_input();
}

void stream::tell_input() {
  if (!link_)
    return;
  nlohmann::json where = {{"stream", name_}, {"channel", input_name()}};
  auto ack = where;
  ack["offset"] = input_.written;
  link_->send(agent_protocol::encode_line("ack", {}, ack));
  where["limit"] = input_.limit;
  link_->send(agent_protocol::encode_line("credit", {}, where));
}

} // namespace caged::agent
