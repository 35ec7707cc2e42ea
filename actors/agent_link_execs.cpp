#include "actors/agent_link.hpp"

#include "messages/text.hpp"

// The execs of a link: start, attach, relay, end. The connection itself is in
// agent_link.cpp.
namespace caged {

using nlohmann::json;
namespace ap = agent_protocol;

namespace {

constexpr const char* init_path = "/tmp/.caged-init";

std::string init_exec_name(const std::string& id) {
  return "init-" + id;
}

} // namespace

void agent_link_state::reply(const entry& to, api::reply_body body) {
  if (!to.relay.route().empty())
    context->clients->send(
        {to.relay.route(), to.relay.exec(), std::move(body)});
}

void agent_link_state::exec(const exec_call& call_info) {
  const auto& request = *call_info.request;
  const auto& what = std::get<api::exec>(request.body);
  auto table = call_info.table;
  auto refuse = [&](failure why) {
    context->clients->send(
        {request.route, request.id,
         api::error_reply{std::move(why), id, context->node}});
    if (table)
      self->send(table, atom::ended::value, request.route, request.id);
  };
  if (!connected_)
    return refuse({ec::unavailable,
                   "the agent of " + id + " is not connected at the moment",
                   "try again; caged why " + id + " shows its history"});
  auto it = execs_.find(request.id);
  if (it != execs_.end()) {
    auto& known = it->second;
    if (known.relay.caller() != request.caller)
      return refuse({ec::denied, "this exec belongs to another caller", {}});
    if (!known.relay.route().empty() && known.relay.route() != request.route) {
      reply(known,
            api::error_reply{
                {ec::superseded, "another client attached to this exec", {}},
                id,
                context->node});
      if (known.table)
        self->send(known.table, atom::ended::value, known.relay.route(),
                   request.id);
      context->clients->unwatch(known.relay.route());
    }
    if (known.relay.route() != request.route)
      context->clients->watch(request.route);
    known.table = table;
    known.asked = now();
    attach(known, known.relay.attach(what, request.route));
    return;
  }
  if (execs_.size() >= limits::execs_per_sandbox)
    return refuse({ec::too_large,
                   id + " runs " + std::to_string(execs_.size())
                       + " commands; the most is "
                       + std::to_string(limits::execs_per_sandbox),
                   "wait until some have ended"});
  auto& fresh =
      execs_
          .emplace(request.id,
                   entry{exec_relay{request.id, request.caller, request.digest},
                         table, false, now()})
          .first->second;
  context->clients->watch(request.route);
  auto payload = fresh.relay.start(what, call_info.workdir, request.route);
  exec_record row;
  row.exec = request.id;
  row.sandbox = id;
  row.caller = request.caller;
  row.started_ms = wall_clock_ms();
  // Not waited for: it matters to a restarted daemon only, and the agent's own
  // list is the truth about what runs.
  auto journal = context->journal;
  offload(
      self, context->records,
      [journal, row]() -> result<void> { return journal->put_exec(row); },
      [](const result<void>&) {});
  auto exec_id = request.id;
  call("exec", payload, [this, exec_id](result<json> got) {
    auto found = execs_.find(exec_id);
    if (found == execs_.end())
      return;
    if (!got)
      return end_with(exec_id, got.error());
    context->metrics->exec_answered(now() - found->second.asked);
    apply(found->second, found->second.relay.started(*got, id, false));
  });
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
  if (!channel_) // the relay checks offsets again once the link is back
    return;
  auto out = it->second.relay.from_client(request->body);
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
  if (out.over) {
    if (to.is_init) {
      auto ended = to.relay.exit().value_or(api::exec_exit{});
      notify({link_notice::kind::init_done,
              {},
              {},
              {},
              ended.signal != 0 ? 128 + ended.signal : ended.code});
    }
    finish(to.relay.exec());
  }
}

/// Forgets an exec, here and in the journal.
void agent_link_state::finish(const std::string& exec_id) {
  auto it = execs_.find(exec_id);
  if (it == execs_.end())
    return;
  const auto& route = it->second.relay.route();
  if (!route.empty()) {
    context->clients->unwatch(route);
    if (it->second.table)
      self->send(it->second.table, atom::ended::value, route, exec_id);
  }
  auto name_of_exec = it->first;
  execs_.erase(it);
  auto journal = context->journal;
  offload(
      self, context->records,
      [journal, name_of_exec]() -> result<void> {
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

void agent_link_state::client_gone(const std::string& route) {
  std::vector<std::string> left;
  for (auto& [exec_id, to] : execs_)
    if (to.relay.route() == route) {
      to.relay.detach();
      to.table = stream_table_actor{};
      left.push_back(exec_id);
    }
  for (const auto& exec_id : left)
    grace(exec_id);
}

/// Whoever vanished without --detach has this long to come back.
void agent_link_state::grace(const std::string& exec_id) {
  self->delayed_send(self, limits::reattach_grace, atom::ended::value, exec_id);
}

void agent_link_state::grace_over(const std::string& exec_id) {
  auto it = execs_.find(exec_id);
  if (it == execs_.end() || !it->second.relay.route().empty()
      || it->second.relay.kept())
    return;
  // Nobody came back: it is killed, and what it still says is thrown away.
  auto& to = it->second;
  to.relay.keep_output([](std::string_view) {});
  call("signal", {{"exec", exec_id}, {"signal", 9}}, [](result<json>) {});
  attach(to, to.relay.resume(0, 0));
}

/// After the link was made anew: the agent's list against ours.
void agent_link_state::resume_execs(const json& listed) {
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> alive;
  if (listed.is_array())
    for (const auto& item : listed) {
      if (!item.is_object())
        continue;
      auto exec_id = ap::text(item, "exec");
      auto out = ap::number_or(item, "stdout", 0);
      auto err = ap::number_or(item, "stderr", 0);
      if (exec_id && out && err)
        alive[*exec_id] = {*out, *err};
    }
  // Known from the journal of the daemon before this one.
  for (const auto& row : known_) {
    if (alive.count(row.exec) == 0 || execs_.count(row.exec) != 0)
      continue;
    auto& to = execs_
                   .emplace(row.exec,
                            entry{exec_relay{row.exec, row.caller, row.digest},
                                  {},
                                  row.detached,
                                  now()})
                   .first->second;
    if (row.detached)
      to.relay.keep_output(
          [logs = context->logs, sandbox = id](std::string_view bytes) {
            logs->append(sandbox, "init", bytes);
          });
    else
      grace(row.exec);
  }
  known_.clear();
  std::vector<std::string> vanished;
  for (auto& [exec_id, to] : execs_) {
    auto it = alive.find(exec_id);
    if (it == alive.end())
      vanished.push_back(exec_id);
    else if (to.relay.kept() || !to.relay.route().empty())
      attach(to, to.relay.resume(it->second.first, it->second.second));
  }
  for (const auto& exec_id : vanished)
    end_with(exec_id,
             {ec::agent_lost, "the exec is no longer known to the agent", {}});
}

// -- init script -------------------------------------------------------------

void agent_link_state::run_init(const std::string& script) {
  init_script_ = script;
  if (connected_)
    start_init_exec();
}

void agent_link_state::start_init_exec() {
  auto script = std::move(init_script_);
  init_script_.clear();
  auto exec_id = init_exec_name(id);
  if (execs_.count(exec_id) != 0)
    return;
  exec_record row;
  row.exec = exec_id;
  row.sandbox = id;
  row.caller = "node";
  row.started_ms = wall_clock_ms();
  row.detached = true;
  auto journal = context->journal;
  offload(
      self, context->records,
      [journal, row]() -> result<void> { return journal->put_exec(row); },
      [](const result<void>&) {});
  auto& to =
      execs_
          .emplace(exec_id,
                   entry{exec_relay{exec_id, "node", 0}, {}, true, now()})
          .first->second;
  to.relay.keep_output(
      [logs = context->logs, sandbox = id](std::string_view bytes) {
        logs->append(sandbox, "init", bytes);
      });
  auto run = [this, exec_id](const std::vector<std::string>& argv) {
    auto found = execs_.find(exec_id);
    if (found == execs_.end())
      return;
    api::exec what;
    what.argv = argv;
    call("exec", found->second.relay.start(what, "", ""),
         [this, exec_id](result<json> got) {
           if (!got)
             end_with(exec_id, got.error());
         });
  };
  bool direct = script.rfind("#!", 0) == 0;
  call(
      "write", {{"path", init_path}, {"mode", 0700}},
      [this, run, direct, exec_id](result<json> got) {
        if (!got)
          return end_with(exec_id, got.error());
        // One stream, in the order it was written.
        run({"/bin/sh", "-c",
             direct ? std::string{"exec "} + init_path + " 2>&1"
                    : std::string{"exec /bin/sh "} + init_path + " 2>&1"});
      },
      script);
}

} // namespace caged
