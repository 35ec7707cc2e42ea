#include <algorithm>
#include <utility>

#include "actors/agent_link.hpp"

#include "messages/text.hpp"

// The execs of a link over time: clients that vanish, a link made anew, an
// earlier daemon's execs, the init script; and what `ps` and `kill` see.
namespace caged {

using nlohmann::json;
namespace ap = agent_protocol;

namespace {

constexpr const char* init_path = "/tmp/.caged-init";
/// An agent keeps the end of an exec that nobody fetches for 10 minutes (agent/
/// exec.cpp): one that it does not know was never started, if it is younger.
constexpr auto surely_known = std::chrono::minutes(9);

std::string init_exec_name(const std::string& id) {
  return "init-" + id;
}

} // namespace

void agent_link_state::client_gone(const std::string& route) {
  std::erase_if(held_, [&](const held_call& waiting) {
    return waiting.call.request->route == route;
  });
  std::vector<std::string> left, dials;
  for (auto& [exec_id, to] : execs_) {
    if (to.relay.route() != route)
      continue;
    to.relay.detach();
    to.replay.reset();
    to.table = stream_table_actor{};
    if (to.relay.is_dial())
      dials.push_back(exec_id);
    else if (!to.row.detached)
      left.push_back(exec_id);
  }
  for (const auto& exec_id : left)
    grace(exec_id);
  for (const auto& exec_id : dials) {
    if (channel_)
      channel_->send(execs_.at(exec_id).relay.exit_ack());
    finish(exec_id);
  }
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
  to.relay.keep_output([](api::channel, std::string_view) {});
  call("signal", {{"exec", exec_id}, {"signal", 9}}, [](result<json>) {});
  attach(to, to.relay.resume(0, 0));
}

/// After the link was made anew: the agent's list against ours.
void agent_link_state::resume_execs(const json& listed) {
  struct offsets {
    std::uint64_t out, err, pid;
  };
  std::map<std::string, offsets> alive;
  if (listed.is_array())
    for (const auto& item : listed) {
      if (!item.is_object())
        continue;
      auto exec_id = ap::text(item, "exec");
      auto out = ap::number_or(item, "stdout", 0);
      auto err = ap::number_or(item, "stderr", 0);
      auto pid = ap::number_or(item, "pid", 0);
      if (exec_id && out && err && pid)
        alive[*exec_id] = {*out, *err, *pid};
    }
  // Known from the journal of the daemon before this one.
  for (const auto& row : known_) {
    if (execs_.count(row.exec) != 0)
      continue;
    bool is_init = row.exec == init_exec_name(id);
    bool ended = row.code || row.signal;
    if (alive.count(row.exec) == 0 && !row.detached)
      continue;
    auto& to = add(row, {});
    to.is_init = is_init;
    if (!row.detached) {
      // What is below is with a client of the earlier daemon.
      const auto& kept = alive.at(row.exec);
      to.relay.received(kept.out, kept.err);
      grace(row.exec);
      continue;
    }
    keep_output(to);
    auto log = is_init ? std::string{"init"} : row.exec;
    auto end = [&](api::channel on) {
      auto part = context->logs->part(id, exec_replay::log_of(log, on), 0, 0);
      return part ? part->end : 0;
    };
    to.relay.received(end(api::channel::out), end(api::channel::err));
    if (ended && !is_init)
      to.kept_exit = api::exec_exit{row.code.value_or(-1),
                                    row.signal.value_or(0), "exited"};
  }
  known_.clear();
  std::vector<std::string> vanished;
  for (auto& [exec_id, to] : execs_) {
    if (to.kept_exit) { // the agent may not know yet that this is known
      if (alive.count(exec_id) != 0)
        channel_->send(to.relay.exit_ack());
      continue;
    }
    auto it = alive.find(exec_id);
    if (it == alive.end())
      vanished.push_back(exec_id);
    else
      to.pid = static_cast<std::int64_t>(it->second.pid);
    if (it != alive.end() && (to.relay.kept() || !to.relay.route().empty()))
      attach(to, to.relay.resume(it->second.out, it->second.err));
  }
  for (const auto& exec_id : vanished) {
    auto& to = execs_.at(exec_id);
    if (to.is_init && !to.row.code && !to.row.signal
        && wall_clock_ms() - to.row.started_ms
               < std::chrono::milliseconds(surely_known).count()) {
      // The daemon before this one died before it was started: run_init() is
      // asked again.
      finish(exec_id);
      continue;
    }
    if (to.is_init && (to.row.code || to.row.signal)) {
      // Its end was journalled by a daemon that died before it could say so.
      auto signal = to.row.signal.value_or(0);
      notify({link_notice::kind::init_done,
              {},
              {},
              {},
              signal != 0 ? 128 + signal : to.row.code.value_or(0)});
      finish(exec_id);
      continue;
    }
    end_with(exec_id,
             {ec::agent_lost, "the exec is no longer known to the agent", {}});
  }
  count_activity();
  let_back();
}

/// A client of a paused sandbox's exec that lost its node comes back: it waits
/// for the sandbox.
bool agent_link_state::comes_back(const api::request& request) const {
  const auto* what = std::get_if<api::exec>(&request.body);
  if (!what
      || (what->attach_only && what->stdout_offset == 0
          && what->stderr_offset == 0))
    return false;
  return execs_.count(request.id) != 0
         || std::any_of(known_.begin(), known_.end(), [&](const auto& row) {
              return row.exec == request.id;
            });
}

void agent_link_state::let_back() {
  for (auto& item : std::exchange(held_, {})) {
    item.call.refusal.reset();
    exec(item.call);
    context->clients->unwatch(item.call.request->route);
  }
}

// -- ps and kill -------------------------------------------------------------

api::exec_info info_of(const exec_record& row) {
  api::exec_info info;
  info.exec = row.exec;
  info.command = row.command;
  info.caller = row.caller;
  info.started_ms = row.started_ms;
  info.tty = row.tty;
  info.detached = row.detached;
  info.exited = row.code || row.signal;
  info.code = row.code.value_or(0);
  info.signal = row.signal.value_or(0);
  return info;
}

api::ps_reply agent_link_state::list() const {
  api::ps_reply out{id, {}};
  for (const auto& row : known_) { // the agent has not said yet how they are
    if (execs_.count(row.exec) != 0)
      continue;
    out.execs.push_back(info_of(row));
  }
  for (const auto& [_, item] : execs_) {
    if (item.relay.is_dial())
      continue;
    auto info = info_of(item.row);
    info.pid = item.pid;
    info.attached = !item.relay.route().empty();
    auto ended = item.kept_exit ? item.kept_exit : item.relay.exit();
    info.exited = ended.has_value();
    if (ended) {
      info.code = ended->code;
      info.signal = ended->signal;
    }
    out.execs.push_back(std::move(info));
  }
  std::stable_sort(
      out.execs.begin(), out.execs.end(),
      [](const auto& a, const auto& b) { return a.started_ms < b.started_ms; });
  return out;
}

caf::result<std::string> agent_link_state::kill(const std::string& exec,
                                                int signal) {
  std::vector<std::string> found;
  for (const auto& [exec_id, item] : execs_)
    if (!item.relay.is_dial() && exec_id.rfind(exec, 0) == 0) {
      if (exec_id == exec) {
        found = {exec_id};
        break;
      }
      found.push_back(exec_id);
    }
  if (found.size() != 1)
    return make_error(found.empty() ? ec::not_found : ec::ambiguous,
                      found.empty() ? id + " has no exec " + caged::quoted(exec)
                                    : caged::quoted(exec) + " fits "
                                          + std::to_string(found.size())
                                          + " execs of " + id,
                      "caged ps " + id + " shows them");
  if (execs_.at(found.front()).kept_exit)
    return make_error(ec::wrong_state,
                      "exec " + found.front() + " has ended already");
  auto promise = self->make_response_promise<std::string>();
  call("signal", {{"exec", found.front()}, {"signal", signal}},
       [promise, exec_id = found.front()](result<json> got) mutable {
         if (got)
           promise.deliver(exec_id);
         else
           promise.deliver(make_error(got.error()));
       });
  return promise;
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
  row.command = "(init script)";
  auto& to = add(std::move(row), {});
  to.is_init = true;
  keep_output(to);
  write_row(to);
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
