#include "actors/exec_relay.hpp"

#include <algorithm>
#include <csignal>
#include <limits>

#include "actors/mcp_server.hpp"
#include "messages/text.hpp"

namespace caged {

using nlohmann::json;
namespace ap = agent_protocol;

namespace {

std::string number_text(std::uint64_t value) {
  return std::to_string(value);
}

} // namespace

exec_relay::out_side* exec_relay::side(api::channel on) {
  if (on == api::channel::out)
    return &out_;
  if (on == api::channel::err)
    return &err_;
  return nullptr;
}

std::string_view exec_relay::name_of(api::channel on) const noexcept {
  if (!dial_)
    return to_string(on);
  return on == api::channel::in ? "in" : "out";
}

std::optional<api::channel>
exec_relay::channel_of(const std::string& name) const {
  if (!dial_)
    return api::channel_from_string(name);
  if (name == "in")
    return api::channel::in;
  if (name == "out")
    return api::channel::out;
  return std::nullopt;
}

std::string exec_relay::exit_ack() const {
  if (dial_)
    return ap::encode_line("close", std::nullopt,
                           {{"stream", exec_}, {"reason", "closed"}});
  return ap::encode_line(
      "ack", std::nullopt,
      {{"stream", exec_}, {"channel", "exit"}, {"offset", 0}});
}

void exec_relay::received(std::uint64_t out, std::uint64_t err) {
  out_.next = out_.acked = out;
  err_.next = err_.acked = err;
}

std::vector<api::reply_body> exec_relay::stdin_state() const {
  std::vector<api::reply_body> out;
  out.emplace_back(api::stream_ack{api::channel::in, in_acked_});
  if (in_credit_ > 0)
    out.emplace_back(api::stream_credit{api::channel::in, in_credit_});
  return out;
}

json exec_relay::start(const api::dial& what, std::string route) {
  dial_ = true;
  route_ = std::move(route);
  out_.credit = what.credit;
  json payload = {{"stream", exec_}, {"credit", {{"out", out_.credit}}}};
  if (what.mcp)
    payload["path"] = mcp_server::socket_path(what.mcp->key);
  else
    payload["port"] = what.port;
  return payload;
}

json exec_relay::credits() const {
  return {{"stdout", out_.credit}, {"stderr", err_.credit}};
}

std::string exec_relay::stream_line(const char* type, api::channel on,
                                    const char* key,
                                    std::uint64_t value) const {
  return ap::encode_line(
      type, std::nullopt,
      {{"stream", exec_}, {"channel", std::string{name_of(on)}}, {key, value}});
}

json exec_relay::start(const api::exec& what, const std::string& cwd,
                       std::string route) {
  route_ = std::move(route);
  out_.credit = kept() ? limits::window_default : what.stdout_credit;
  err_.credit = kept() ? limits::window_default : what.stderr_credit;
  json payload = {{"exec", exec_},
                  {"cwd", what.cwd.empty() ? cwd : what.cwd},
                  {"env", what.env},
                  {"stdin", what.wants_stdin},
                  {"credit", credits()}};
  if (what.login)
    payload["login"] = true;
  if (!what.argv.empty())
    payload["argv"] = what.argv;
  if (!what.user.empty())
    payload["user"] = what.user;
  if (what.tty) {
    payload["tty"] = true;
    payload["rows"] = what.rows;
    payload["cols"] = what.cols;
  }
  if (what.timeout.count() > 0)
    payload["timeout_ms"] = what.timeout.count();
  return payload;
}

json exec_relay::attach(const api::exec& what, std::string route) {
  route_ = std::move(route);
  auto go_on = [&](out_side& from, std::uint64_t offset, std::uint64_t credit) {
    // Who only attaches cannot know what an earlier client has had: it gets
    // what is still kept, its window is moved along.
    from.next = what.attach_only ? std::max(offset, from.acked) : offset;
    from.moved = from.next > offset;
    from.acked = from.next;
    from.credit = credit + (from.next - offset);
    from.ended = false;
  };
  go_on(out_, what.stdout_offset, what.stdout_credit);
  go_on(err_, what.stderr_offset, what.stderr_credit);
  exit_.reset();
  return {{"exec", exec_},
          {"stdout", out_.next},
          {"stderr", err_.next},
          {"credit", credits()}};
}

json exec_relay::resume(std::uint64_t lowest_out, std::uint64_t lowest_err) {
  out_.next = std::max(out_.next, lowest_out);
  err_.next = std::max(err_.next, lowest_err);
  if (kept()) {
    out_.credit = out_.next + limits::window_default;
    err_.credit = err_.next + limits::window_default;
  }
  return {{"exec", exec_},
          {"stdout", out_.next},
          {"stderr", err_.next},
          {"credit", credits()}};
}

exec_relay::output exec_relay::started(const json& payload,
                                       const std::string& sandbox,
                                       bool attached) {
  output to;
  started_ = true;
  if (attached) {
    // The client sends again what the agent has not taken.
    if (auto next = ap::number_or(payload, "stdin", in_acked_)) {
      in_acked_ = *next;
      in_next_ = *next;
    }
  }
  if (kept())
    return to;
  auto pid = ap::number_or(payload, "pid", 0);
  to.to_client.emplace_back(api::exec_started{
      sandbox, pid ? static_cast<std::int64_t>(*pid) : 0, !attached});
  if (attached)
    to.to_client.emplace_back(api::stream_ack{api::channel::in, in_acked_});
  if (attached && in_credit_ > 0)
    to.to_client.emplace_back(api::stream_credit{api::channel::in, in_credit_});
  for (auto on : {api::channel::out, api::channel::err})
    if (auto* from = side(on); from->moved) {
      from->moved = false;
      to.to_client.emplace_back(api::stream_data{on, from->next, {}});
    }
  return to;
}

result<exec_relay::output>
exec_relay::from_client(const api::request_body& body) {
  output to;
  if (auto* data = std::get_if<api::stream_data>(&body)) {
    if (data->on != api::channel::in)
      return fail(ec::bad_request, "clients send data on stdin only");
    auto end = data->offset + data->bytes.size();
    if (data->offset > in_next_)
      return fail(ec::bad_request, "stdin has a gap: offset "
                                       + number_text(data->offset)
                                       + " was sent, " + number_text(in_next_)
                                       + " was expected");
    if (end > in_credit_)
      return fail(ec::bad_request, "stdin up to " + number_text(end)
                                       + " was sent, but the limit is "
                                       + number_text(in_credit_));
    in_next_ = std::max(in_next_, end);
    to.to_agent.push_back(
        ap::encode_data("data", std::nullopt,
                        {{"stream", exec_},
                         {"channel", std::string{name_of(api::channel::in)}},
                         {"offset", data->offset}},
                        data->bytes, true));
  } else if (auto* ack = std::get_if<api::stream_ack>(&body)) {
    if (ack->on == api::channel::exit) {
      if (!exit_ && !dial_) // the client of a dial may leave when it likes
        return fail(ec::bad_request, "the exit was acknowledged before it was "
                                     "sent");
      to.over = true;
      return to;
    }
    auto* from = side(ack->on);
    if (!from)
      return fail(ec::bad_request, "clients acknowledge stdout, stderr, exit");
    if (ack->offset > from->next)
      return fail(ec::bad_request,
                  std::string{to_string(ack->on)} + " was acknowledged up to "
                      + number_text(ack->offset) + ", but only "
                      + number_text(from->next) + " bytes were sent");
    if (ack->offset > from->acked) {
      from->acked = ack->offset;
      to.to_agent.push_back(stream_line("ack", ack->on, "offset", ack->offset));
    }
  } else if (auto* credit = std::get_if<api::stream_credit>(&body)) {
    auto* from = side(credit->on);
    if (!from)
      return fail(ec::bad_request, "clients give credit for stdout and stderr");
    if (credit->limit > from->acked + limits::window_max)
      return fail(ec::bad_request,
                  "the window is " + number_text(credit->limit - from->acked)
                      + " bytes; the most is "
                      + number_text(limits::window_max));
    if (credit->limit > from->credit) {
      from->credit = credit->limit;
      to.to_agent.push_back(
          stream_line("credit", credit->on, "limit", credit->limit));
    }
  } else if (auto* eof = std::get_if<api::stream_eof>(&body)) {
    if (eof->on != api::channel::in || eof->offset > in_next_)
      return fail(ec::bad_request, "the end of stdin at "
                                       + number_text(eof->offset)
                                       + " lies behind what was sent");
    to.to_agent.push_back(stream_line("eof", eof->on, "offset", eof->offset));
  } else if (auto* sig = std::get_if<api::exec_signal>(&body)) {
    if (sig->number < 1 || sig->number > SIGRTMAX)
      return fail(ec::bad_request,
                  "there is no signal " + std::to_string(sig->number));
    to.to_agent.push_back(ap::encode_line(
        "signal", std::nullopt, {{"exec", exec_}, {"signal", sig->number}}));
  } else if (auto* size = std::get_if<api::exec_resize>(&body)) {
    to.to_agent.push_back(ap::encode_line(
        "resize", std::nullopt,
        {{"exec", exec_}, {"rows", size->rows}, {"cols", size->cols}}));
  }
  return to;
}

result<exec_relay::output> exec_relay::agent_data(ap::line& message) {
  output to;
  auto on = ap::text(message.payload, "channel");
  auto offset = ap::number(message.payload, "offset");
  if (!on || !offset)
    return fail(ec::malformed, "data without channel or offset");
  auto which = channel_of(*on);
  auto* from = which ? side(*which) : nullptr;
  if (!from)
    return fail(ec::malformed, "data on channel " + caged::quoted(*on));
  auto bytes = ap::take_bytes(message);
  if (!bytes)
    return fail(ec::malformed, bytes.error().message);
  if (*offset != from->next || from->ended)
    return fail(ec::malformed, *on + " data at offset " + number_text(*offset)
                                   + " where " + number_text(from->next)
                                   + " was expected");
  if (*offset + bytes->size() > from->credit)
    return fail(ec::malformed,
                *on + " data up to " + number_text(*offset + bytes->size())
                    + ", beyond its credit of " + number_text(from->credit));
  from->next += bytes->size();
  if (kept()) {
    keeper_(*which, *bytes);
    from->acked = from->next;
    from->credit = from->next + limits::window_default;
    to.to_agent.push_back(stream_line("ack", *which, "offset", from->acked));
    to.to_agent.push_back(stream_line("credit", *which, "limit", from->credit));
  } else {
    to.to_client.emplace_back(
        api::stream_data{*which, *offset, std::move(*bytes)});
  }
  return to;
}

result<exec_relay::output> exec_relay::agent_exit(const json& payload) {
  output to;
  api::exec_exit ended;
  auto code = ap::number_or(payload, "code", 0, 255);
  auto signal = ap::number_or(payload, "signal", 0, 128);
  auto reason = ap::optional_text(payload, "reason");
  if (!code || !signal || !reason)
    return fail(ec::malformed, "exit with a code or signal out of range");
  ended.signal = static_cast<int>(*signal);
  ended.code = ended.signal == 0 ? static_cast<int>(*code) : -1;
  ended.reason = escape_text(
      reason->value_or(ended.signal == 0 ? "exited" : "signaled"), 64);
  exit_ = ended;
  if (kept())
    to.over = true;
  else
    to.to_client.emplace_back(ended);
  return to;
}

/// A dial ended both ways: nothing more has to be said.
exec_relay::output exec_relay::agent_close() {
  output to;
  exit_ = api::exec_exit{0, 0, "closed"};
  if (!out_.ended)
    to.to_client.emplace_back(api::stream_eof{api::channel::out, out_.next});
  to.to_client.emplace_back(*exit_);
  to.over = true;
  return to;
}

result<exec_relay::output> exec_relay::from_agent(ap::line& message) {
  if (message.type == "data")
    return agent_data(message);
  if (message.type == "exit" && !dial_)
    return agent_exit(message.payload);
  if (message.type == "close" && dial_)
    return agent_close();
  output to;
  auto on = ap::text(message.payload, "channel");
  if (!on)
    return fail(ec::malformed, message.type + " without channel");
  auto which = channel_of(*on);
  if (message.type == "eof") {
    auto offset = ap::number(message.payload, "offset");
    auto* from = which ? side(*which) : nullptr;
    if (!from || !offset || *offset != from->next)
      return fail(ec::malformed,
                  "eof of " + caged::quoted(*on) + " at a wrong offset");
    from->ended = true;
    if (!kept())
      to.to_client.emplace_back(api::stream_eof{*which, *offset});
  } else if (message.type == "ack") {
    auto offset = ap::number(message.payload, "offset");
    if (which != api::channel::in || !offset || *offset > in_next_)
      return fail(ec::malformed, "ack of " + caged::quoted(*on)
                                     + " beyond what was sent ("
                                     + number_text(in_next_) + " bytes)");
    in_acked_ = std::max(in_acked_, *offset);
    to.to_client.emplace_back(api::stream_ack{api::channel::in, in_acked_});
  } else if (message.type == "credit") {
    auto limit = ap::number(message.payload, "limit");
    if (which != api::channel::in || !limit
        || *limit > in_acked_ + 2 * limits::window_max)
      return fail(ec::malformed, "credit for " + caged::quoted(*on)
                                     + " beyond the largest window");
    in_credit_ = std::max(in_credit_, *limit);
    to.to_client.emplace_back(api::stream_credit{api::channel::in, in_credit_});
  }
  return to;
}

} // namespace caged
