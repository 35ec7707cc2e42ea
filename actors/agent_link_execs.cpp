#include "actors/agent_link.hpp"

#include <algorithm>

#include "actors/mcp_server.hpp"
#include "messages/text.hpp"

// The execs of a link: start, attach, relay, end. The connection itself is in
// agent_link.cpp.
namespace caged {

using nlohmann::json;
namespace ap = agent_protocol;

namespace {

/// An exec waits so long for a link that is being made.
constexpr auto connect_patience = std::chrono::seconds(5);

} // namespace

void agent_link_state::reply(const entry& to, api::reply_body body) {
  if (!to.relay.route().empty())
    context->clients->send(
        {to.relay.route(), to.relay.exec(), std::move(body)});
}

void agent_link_state::refuse(const exec_call& call_info, failure why) {
  const auto& request = *call_info.request;
  context->clients->send({request.route, request.id,
                          api::error_reply{std::move(why), id, context->node}});
  if (call_info.table)
    self->send(call_info.table, atom::ended::value, request.route, request.id);
}

/// Commands; connections to ports and MCP servers have limits of their own.
std::size_t agent_link_state::running_execs() const {
  return static_cast<std::size_t>(
      std::count_if(execs_.begin(), execs_.end(), [](const auto& item) {
        return !item.second.kept_exit && !item.second.relay.is_dial();
      }));
}

/// Whether anything runs in it, for the idle timeout.
void agent_link_state::count_activity() {
  bool busy = std::any_of(execs_.begin(), execs_.end(), [](const auto& item) {
    return !item.second.kept_exit;
  });
  if (busy == busy_)
    return;
  busy_ = busy;
  notify({busy ? link_notice::kind::busy : link_notice::kind::idle,
          {},
          {},
          {},
          0});
}

agent_link_state::entry& agent_link_state::add(exec_record row,
                                               stream_table_actor table) {
  auto exec_id = row.exec;
  entry fresh{exec_relay{row.exec, row.caller, row.digest}};
  fresh.table = std::move(table);
  fresh.row = std::move(row);
  fresh.asked = now();
  auto& made = execs_.emplace(exec_id, std::move(fresh)).first->second;
  if (made.row.detached)
    keep_output(made);
  count_activity();
  return made;
}

/// Not waited for: it matters to a restarted daemon only, and the agent's own
/// list is the truth about what runs.
void agent_link_state::write_row(const entry& of) {
  offload(
      self, context->records,
      [journal = context->journal, row = of.row]() -> result<void> {
        return journal->put_exec(row);
      },
      [](const result<void>&) {});
}

void agent_link_state::keep_output(entry& of) {
  auto log = of.is_init ? std::string{"init"} : of.row.exec;
  of.relay.keep_output([this, log](api::channel on, std::string_view bytes) {
    auto kept = context->logs->append(id, exec_replay::log_of(log, on), bytes);
    if (!kept)
      notify({link_notice::kind::trouble, kept.error().message, {}, {}, 0});
  });
}

failure agent_link_state::not_connected() const {
  return {ec::unavailable,
          "the agent of " + id + " is not connected at the moment",
          "try again; caged why " + id + " shows its history"};
}

void agent_link_state::hold(const exec_call& call_info, std::uint64_t timer) {
  const auto& request = *call_info.request;
  auto known = std::find_if(held_.begin(), held_.end(), [&](const auto& item) {
    return item.call.request->id == request.id;
  });
  if (known != held_.end()) { // a repeat, perhaps over another connection
    context->clients->unwatch(known->call.request->route);
    held_.erase(known);
  }
  context->clients->watch(request.route);
  held_.push_back({call_info, timer});
}

void agent_link_state::exec(const exec_call& call_info) {
  const auto& request = *call_info.request;
  if (call_info.refusal) {
    if (!paused_) // it was resumed meanwhile
      return refuse(call_info, {ec::unavailable, id + " is being resumed",
                                "try again in a moment"});
    if (!comes_back(request))
      return refuse(call_info, *call_info.refusal);
    return hold(call_info, 0);
  }
  if (!connected_) {
    // Being dialled: after a restart, or a moment after a resume.
    if (wanted_ && strikes_ == 0) {
      hold(call_info, next_id_++);
      self->delayed_send(self, connect_patience, atom::expire::value,
                         held_.back().timer);
      return;
    }
    return refuse(call_info, not_connected());
  }
  if (const auto* what = std::get_if<api::dial>(&request.body))
    return start_dial(call_info, *what);
  const auto& what = std::get<api::exec>(request.body);
  auto it = execs_.find(request.id);
  if (it != execs_.end())
    return reattach(it->second, call_info, what);
  if (what.attach_only)
    return refuse(call_info, {ec::not_found, id + " has no exec " + request.id,
                              "caged ps " + id + " shows them"});
  start(call_info, what);
}

void agent_link_state::start(const exec_call& call_info,
                             const api::exec& what) {
  const auto& request = *call_info.request;
  if (running_execs() >= limits::execs_per_sandbox)
    return refuse(call_info, {ec::too_large,
                              id + " runs " + std::to_string(running_execs())
                                  + " commands; the most is "
                                  + std::to_string(limits::execs_per_sandbox),
                              "wait until some have ended"});
  constexpr std::size_t shown = 200;
  exec_record row;
  row.exec = request.id;
  row.sandbox = id;
  row.caller = request.caller;
  row.digest = request.digest;
  row.started_ms = wall_clock_ms();
  row.detached = what.detach;
  row.tty = what.tty;
  if (what.login)
    row.command = "(login shell)";
  for (const auto& arg : what.argv)
    if (row.command.size() < shown)
      row.command += (row.command.empty() ? "" : " ") + arg;
  row.command = escape_text(row.command, shown);
  if (what.detach)
    drop_oldest_exited();
  auto& fresh = add(std::move(row), call_info.table);
  context->clients->watch(request.route);
  auto payload = fresh.relay.start(what, call_info.workdir, request.route);
  if (!what.detach) {
    write_row(fresh);
    return begin(request.id, payload);
  }
  // Nobody would know after a restart that its output is to be kept: it starts
  // when the journal has it.
  offload(
      self, context->records,
      [journal = context->journal, row = fresh.row]() -> result<void> {
        return journal->put_exec(row);
      },
      [this, exec_id = request.id, payload](const result<void>& written) {
        if (written)
          begin(exec_id, payload);
        else
          end_with(exec_id, written.error());
      });
}

/// Has the agent start it.
void agent_link_state::begin(const std::string& exec_id, const json& payload) {
  if (execs_.count(exec_id) == 0)
    return; // its sandbox ended meanwhile
  call("exec", payload, [this, exec_id](result<json> got) {
    auto found = execs_.find(exec_id);
    if (found == execs_.end())
      return;
    if (!got)
      return end_with(exec_id, got.error());
    auto& to = found->second;
    context->metrics->exec_answered(now() - to.asked);
    to.pid =
        static_cast<std::int64_t>(ap::number_or(*got, "pid", 0).value_or(0));
    // An earlier daemon started it, and died before the journal had it: the
    // agent goes on from the lowest bytes it has, which the client may know.
    bool known = !ap::flag_or(*got, "created", true).value_or(true);
    if (known)
      to.relay.received(ap::number_or(*got, "stdout", 0).value_or(0),
                        ap::number_or(*got, "stderr", 0).value_or(0));
    apply(to, to.relay.started(*got, id, known));
    if (to.row.detached) {
      reply(to, api::exec_started{id, to.pid, true});
      let_go(to);
    }
  });
}

void agent_link_state::start_dial(const exec_call& call_info,
                                  const api::dial& what) {
  const auto& request = *call_info.request;
  if (execs_.count(request.id) != 0)
    return refuse(call_info, {ec::conflict, "this request id is in use",
                              "make a new request id"});
  exec_record row;
  row.exec = request.id;
  row.sandbox = id;
  row.caller = request.caller;
  auto& fresh = add(std::move(row), call_info.table);
  context->clients->watch(request.route);
  const auto payload = fresh.relay.start(what, request.route);
  if (what.mcp)
    return dial_mcp(call_info, *what.mcp, payload);
  call("dial", payload, [this, exec_id = request.id](result<json> got) {
    auto found = execs_.find(exec_id);
    if (found == execs_.end())
      return;
    if (got)
      apply(found->second, found->second.relay.started(*got, id, false));
    else
      end_with(exec_id, got.error());
  });
}

/// A client that comes (back) to an exec; the last one wins.
void agent_link_state::reattach(entry& known, const exec_call& call_info,
                                const api::exec& what) {
  const auto& request = *call_info.request;
  if (known.relay.caller() != request.caller || known.is_init
      || known.relay.is_dial())
    return refuse(call_info,
                  {ec::denied, "this exec belongs to another caller", {}});
  if (what.detach) { // a repeat of its start
    context->clients->send(
        {request.route, request.id, api::exec_started{id, known.pid, false}});
    if (call_info.table)
      self->send(call_info.table, atom::ended::value, request.route,
                 request.id);
    return;
  }
  if (!known.relay.route().empty() && known.relay.route() != request.route) {
    reply(known,
          api::error_reply{
              {ec::superseded, "another client attached to this exec", {}},
              id,
              context->node});
    let_go(known);
  }
  if (known.relay.route() != request.route)
    context->clients->watch(request.route);
  known.table = call_info.table;
  known.asked = now();
  if (!known.row.detached)
    return attach(known, known.relay.attach(what, request.route));
  known.relay.attach_route(request.route);
  known.replay.emplace(context->logs, id, request.id, what);
  reply(known, api::exec_started{id, known.pid, false});
  for (auto& body : known.relay.stdin_state())
    reply(known, std::move(body));
  pump(known);
}

/// The client of an exec goes or is sent away; the exec itself goes on.
void agent_link_state::let_go(entry& of) {
  auto route = of.relay.route();
  if (route.empty())
    return;
  if (of.table)
    self->send(of.table, atom::ended::value, route, of.row.exec);
  context->clients->unwatch(route);
  of.table = stream_table_actor{};
  of.replay.reset();
  of.relay.detach();
}

/// What the client of a detached exec may have now.
void agent_link_state::pump(entry& to) {
  if (!to.replay)
    return;
  auto ready = to.replay->pump(to.kept_exit);
  if (!ready) {
    reply(to, api::error_reply{ready.error(), id, context->node});
    let_go(to);
    return;
  }
  for (auto& body : *ready)
    reply(to, std::move(body));
}

void agent_link_state::attach(entry& to, json payload) {
  auto exec_id = to.relay.exec();
  call("attach", payload, [this, exec_id](result<json> got) {
    auto found = execs_.find(exec_id);
    if (found == execs_.end())
      return;
    if (got)
      apply(found->second, found->second.relay.started(*got, id, true));
    else
      end_with(exec_id, got.error());
  });
}

void agent_link_state::stream(const request_ptr& request) {
  auto it = execs_.find(request->id);
  if (it == execs_.end() || it->second.relay.route() != request->route)
    return; // over already: its client learns it from exec_exit or the error
  auto& to = it->second;
  if (to.replay) { // its output comes from the log, its input goes to the agent
    if (const auto* credit = std::get_if<api::stream_credit>(&request->body)) {
      to.replay->credit(credit->on, credit->limit);
      return pump(to);
    }
    if (const auto* ack = std::get_if<api::stream_ack>(&request->body)) {
      if (ack->on == api::channel::exit)
        let_go(to);
      return;
    }
  }
  if (!channel_) // the relay checks offsets again once the link is back
    return;
  auto out = to.relay.from_client(request->body);
  if (out)
    apply(it->second, std::move(*out));
  else
    reply(it->second, api::error_reply{out.error(), id, context->node});
}

void agent_link_state::on_stream_line(ap::line& message) {
  const char* key = message.type == "exit" ? "exec" : "stream";
  auto stream_name = ap::text(message.payload, key);
  auto it = stream_name ? execs_.find(*stream_name) : execs_.end();
  if (it == execs_.end()) {
    spend_budget(); // of an exec that has just ended, or invented
    return;
  }
  auto out = it->second.relay.from_agent(message);
  if (!out) {
    violation(escape_text(out.error().message));
    return;
  }
  apply(it->second, std::move(*out));
}

void agent_link_state::apply(entry& to, exec_relay::output&& out) {
  for (auto& line : out.to_agent)
    if (channel_)
      channel_->send(std::move(line));
  for (auto& body : out.to_client)
    reply(to, std::move(body));
  if (out.over)
    settle(to);
  else
    pump(to);
}

/// The receiver of its output has everything. Where that is the node itself,
/// the end is in the journal before the agent may forget it.
void agent_link_state::settle(entry& ended) {
  auto exec_id = ended.row.exec;
  auto acknowledge = [this](const entry& of) {
    if (channel_)
      channel_->send(of.relay.exit_ack());
  };
  if (!ended.row.detached) {
    acknowledge(ended);
    finish(exec_id);
    return;
  }
  auto how = ended.relay.exit().value_or(api::exec_exit{});
  ended.row.code = how.code;
  ended.row.signal = how.signal;
  offload(
      self, context->records,
      [journal = context->journal, row = ended.row]() -> result<void> {
        return journal->put_exec(row);
      },
      [this, exec_id, how, acknowledge](const result<void>& written) {
        auto it = execs_.find(exec_id);
        if (it == execs_.end())
          return;
        auto& to = it->second;
        if (written) // else the agent keeps it, and a restart asks again
          acknowledge(to);
        if (to.is_init) {
          notify({link_notice::kind::init_done,
                  {},
                  {},
                  {},
                  how.signal != 0 ? 128 + how.signal : how.code});
          finish(exec_id);
          return;
        }
        to.kept_exit = how;
        count_activity();
        pump(to);
        if (mcp_server::is_caller(to.row.caller))
          notify({link_notice::kind::mcp_ended, {}, {}, {}, how.code});
      });
}

/// Ended ones are kept for `ps` and `attach`, as many as may run.
void agent_link_state::drop_oldest_exited() {
  std::size_t count = 0;
  const entry* oldest = nullptr;
  for (const auto& [_, item] : execs_)
    if (item.kept_exit) {
      ++count;
      if (!oldest || item.row.started_ms < oldest->row.started_ms)
        oldest = &item;
    }
  if (count < limits::execs_per_sandbox)
    return;
  auto exec_id = oldest->row.exec;
  for (auto on : {api::channel::out, api::channel::err})
    context->logs->remove(id, exec_replay::log_of(exec_id, on));
  finish(exec_id);
}

/// Dials do not outlive the connection to the agent.
void agent_link_state::end_dials(const failure& why) {
  std::vector<std::string> dials;
  for (const auto& [exec_id, item] : execs_)
    if (item.relay.is_dial())
      dials.push_back(exec_id);
  for (const auto& exec_id : dials)
    end_with(exec_id, why);
}

/// Forgets an exec, here and in the journal.
void agent_link_state::finish(const std::string& exec_id) {
  auto it = execs_.find(exec_id);
  if (it == execs_.end())
    return;
  let_go(it->second);
  auto name_of_exec = it->first;
  bool journalled = !it->second.relay.is_dial();
  execs_.erase(it);
  count_activity();
  if (!journalled)
    return;
  offload(
      self, context->records,
      [journal = context->journal, name_of_exec]() -> result<void> {
        return journal->drop_exec(name_of_exec);
      },
      [](const result<void>&) {});
}

void agent_link_state::end_with(const std::string& exec_id,
                                const failure& why) {
  auto it = execs_.find(exec_id);
  if (it == execs_.end())
    return;
  reply(it->second, api::error_reply{why, id, context->node});
  if (it->second.is_init)
    notify({link_notice::kind::init_done, why.message, {}, {}, 125});
  finish(exec_id);
}

} // namespace caged
