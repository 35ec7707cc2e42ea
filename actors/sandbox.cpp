#include "actors/sandbox.hpp"

#include <algorithm>
#include <utility>

#include <caf/actor_system.hpp>

#include "actors/mcp_server.hpp"
#include "messages/text.hpp"

namespace caged {

using namespace std::chrono_literals;

namespace {

/// A tenant must not be able to fill the history: at most one cause of its
/// making in this time, the rest is counted.
constexpr auto note_interval = 10s;
/// Until the next try to take a sandbox of an earlier daemon over.
constexpr auto adopt_retry = 2s;

} // namespace

launch_request sandbox_state::launch() const {
  return {record_.id, record_.spec, record_.slot};
}

// -- one driver call at a time
// -------------------------------------------------

void sandbox_state::drive(std::function<void()> call) {
  calls_.push_back(std::move(call));
  if (!driving_) {
    driving_ = true;
    auto first = std::move(calls_.front());
    calls_.pop_front();
    first();
  }
}

void sandbox_state::driven() {
  if (calls_.empty()) {
    driving_ = false;
    return;
  }
  auto following = std::move(calls_.front());
  calls_.pop_front();
  following();
}

// -- recorded transitions -----------------------------------------------------

cause sandbox_state::note(phase to, std::string who, std::string text) {
  last_ = {wall_clock_ms(), record_.state, to, std::move(who),
           escape_text(text)};
  record_.state = to;
  record_.changed_ms = last_.time_ms;
  news_.push_back(last_);
  return last_;
}

void sandbox_state::change(phase to, std::string who, std::string text,
                           next then) {
  auto why = note(to, std::move(who), std::move(text));
  if (!is_member())
    context->metrics->state(record_.id, to);
  offload(
      self, context->records,
      [journal = context->journal, record = record_, why]() -> result<void> {
        return journal->transition(record, why);
      },
      [then](result<void> done) {
        if (then)
          then(std::move(done));
      });
  publish();
}

/// A cause without a change of state, at most one every note_interval.
void sandbox_state::record(const std::string& who, const std::string& text) {
  auto t = self->home_system().clock().now();
  if (last_noted_.time_since_epoch().count() != 0
      && t - last_noted_ < note_interval) {
    ++unnoted_;
    return;
  }
  last_noted_ = t;
  auto more = unnoted_ == 0
                  ? std::string{}
                  : " (" + std::to_string(unnoted_) + " more since the last)";
  unnoted_ = 0;
  change(record_.state, who, text + more, nullptr);
}

void sandbox_state::tell(sandbox_changed what) {
  if (owner)
    self->send(owner, std::move(what));
}

void sandbox_state::publish(std::string step) {
  sandbox_changed what;
  what.info.id = record_.id;
  what.info.owner = record_.owner;
  what.info.node = context->node;
  what.info.state = record_.state;
  what.info.spec = record_.spec;
  for (auto& [_, value] : what.info.spec.env)
    value.clear(); // never leaves the node
  what.info.spec.init_script.clear();
  what.info.created_ms = record_.created_ms;
  what.info.last_cause = last_;
  what.info.agent_version = record_.agent_version;
  what.info.init_state = record_.init_state;
  what.gone = record_.state == phase::destroyed;
  what.made = record_.state != phase::pending || record_.process.pid != 0;
  what.ready = written_ && record_.state == phase::running
               && record_.init_state != 0 && !handing_out_;
  what.parked = parked_ && record_.state == phase::paused;
  what.error = start_error_;
  what.step = std::move(step);
  what.news = std::exchange(news_, {});
  tell(std::move(what));
}

// -- making and re-adopting
// ----------------------------------------------------

void sandbox_state::adopt(const sandbox_record& from,
                          std::vector<exec_record> execs) {
  record_ = from;
  execs_ = std::move(execs);
  last_.to = last_.from = record_.state;
  last_.time_ms = record_.changed_ms;
}

void sandbox_state::start() {
  started_ = self->home_system().clock().now();
  if (record_.state != phase::stopping && record_.state != phase::destroyed)
    watch_ttl();
  switch (record_.state) {
  case phase::pending:
    make();
    break;
  case phase::failed:
    retention();
    break;
  case phase::stopping:
    free_everything();
    break;
  case phase::destroyed:
    freed({});
    break;
  default:
    recover();
  }
  publish();
}

void sandbox_state::make() {
  publish("starting");
  // What an interrupted start left is undone first; a no-op for a new one.
  bool again = record_.taken_over;
  drive([this, again] {
    offload(
        self, context->driver_workers,
        [driver = context->driver, what = launch(),
         again]() -> result<process_ref> {
          if (again)
            if (auto undone = driver->destroy(what.id, false); !undone)
              return tl::unexpected<failure>(undone.error());
          return driver->start(what);
        },
        [this](result<process_ref> got) {
          made(got);
          driven();
        });
  });
}

void sandbox_state::made(const result<process_ref>& got) {
  if (record_.state != phase::pending)
    return; // destroyed meanwhile; its driver call follows this one
  if (!got) {
    // Nothing of it exists: it is not kept as failed, its history is.
    start_error_ = got.error();
    auto why = note(phase::stopping, "node",
                    "it could not be started: " + got.error().message);
    offload(
        self, context->records,
        [journal = context->journal, record = record_, why]() -> result<void> {
          return journal->transition(record, why);
        },
        [this](const result<void>&) { free_everything(); });
    return;
  }
  record_.process = *got;
  publish("waiting for its agent");
  watch_agent({});
}

void sandbox_state::recover() {
  drive([this] {
    offload(
        self, context->driver_workers,
        [driver = context->driver, what = launch(),
         process = record_.process]() -> result<std::optional<failure>> {
          if (auto got = driver->recover(what, process); !got)
            return tl::unexpected<failure>(got.error());
          // A daemon that died at its hand-out may not have come to it.
          if (auto tuned = driver->tune(what, process); !tuned)
            return tuned.error();
          return std::nullopt;
        },
        [this](const result<std::optional<failure>>& got) {
          if (!has_processes(record_.state)
              || record_.state == phase::stopping) {
            driven();
            return;
          }
          if (got) {
            counted_ = true;
            written_ = true;
            // What was frozen or thawed last is not known for certain: the
            // journal decides.
            freeze(record_.state == phase::paused);
            watch_agent(record_.agent_boot);
            watch_idleness();
            if (*got)
              record("node",
                     "its limits could not be set again: " + (*got)->message);
          } else if (got.error().code == ec::agent_lost) {
            fail_with("node", "its processes ended while the node was away: "
                                  + got.error().message);
          } else { // it lives; what is missing is the node's (descriptors, ...)
            record("node",
                   "it could not be taken over yet: " + got.error().message);
            self->delayed_send(self, adopt_retry, atom::start::value);
          }
          driven();
        });
  });
}

void sandbox_state::watch_agent(const std::string& known_boot) {
  auto self_handle = caf::actor_cast<link_owner_actor>(self);
  if (!metrics && !is_member())
    metrics = self->spawn(metrics_stream, context, record_.id, record_.spec);
  if (!link)
    link = self->spawn(agent_link, context, record_.id,
                       agent_setup{record_.spec}, self_handle, metrics);
  if (!is_member())
    context->metrics->state(record_.id, record_.state);
  link_target target;
  target.address = context->driver->address(launch(), record_.process);
  target.known_boot = known_boot;
  target.execs = std::move(execs_);
  execs_.clear();
  target.paused = record_.state == phase::paused;
  self->send(link, atom::dial::value, std::move(target));
  if (record_.state == phase::pending)
    self->delayed_send(self, context->agent_deadline, atom::expire::value,
                       ++generation_);
  tick();
}

void sandbox_state::deadline(std::uint64_t generation) {
  if (record_.state == phase::failed && generation == 0) {
    if (retention_left() > 0ms)
      retention();
    else
      end("retention");
    return;
  }
  if (generation != generation_
      || (record_.state != phase::pending && !handing_out_))
    return;
  auto log = context->driver->agent_log(record_.id);
  auto text = "its agent did not answer within "
              + format_duration(context->agent_deadline);
  if (!log.empty())
    text +=
        "; it last said: "
        + escape_text(log.substr(log.size() > 200 ? log.size() - 200 : 0), 400);
  fail_with("node", text, failure{ec::agent_lost, text, {}});
}

void sandbox_state::on_notice(const link_notice& notice) {
  using kind = link_notice::kind;
  switch (notice.what) {
  case kind::up: {
    auto before = record_.agent_boot;
    record_.agent_boot = notice.boot;
    if (!notice.version.empty())
      record_.agent_version = notice.version;
    if (record_.state == phase::pending && is_member()) {
      park();
    } else if (handing_out_ && record_.state == phase::running) {
      handed_out();
    } else if (record_.state == phase::pending) {
      ++generation_;
      became_idle();
      run_init_once();
      change(phase::running, "agent", "its agent said hello",
             [this](const result<void>& done) {
               if (!done) {
                 start_error_ = done.error();
                 fail_with("node", "that it runs could not be recorded: "
                                       + done.error().message);
                 return;
               }
               written_ = true;
               publish();
             });
      if (!counted_) {
        counted_ = true;
        context->metrics->created(self->home_system().clock().now() - started_);
      }
    } else if (before != notice.boot) {
      change(record_.state, "agent", "its agent was restarted", nullptr);
    } else if (record_.state == phase::unhealthy) {
      change(phase::running, "agent", "its agent answers again", nullptr);
    } else {
      // A no-op where it runs; a daemon may have died before it did.
      if (record_.init_state == 0)
        self->send(link, atom::inject::value, record_.spec.init_script);
      publish();
    }
    break;
  }
  case kind::silent:
    if (record_.state == phase::running)
      change(phase::unhealthy, "node", notice.text, nullptr);
    break;
  case kind::alive:
    if (record_.state == phase::unhealthy)
      change(phase::running, "agent", notice.text, nullptr);
    break;
  case kind::violation:
    if (has_processes(record_.state) && record_.state != phase::stopping)
      record("agent", notice.text);
    break;
  case kind::trouble:
    record("node", notice.text);
    break;
  case kind::mcp_ended:
    if (mcp_server::belongs_to_session(record_.spec)
        && has_processes(record_.state) && record_.state != phase::stopping)
      end("end of its MCP session");
    break;
  case kind::busy:
    became_busy();
    break;
  case kind::idle:
    became_idle();
    break;
  case kind::init_done:
    if (record_.init_state == 0) {
      record_.init_state = notice.code == 0 ? 1 : 2;
      change(record_.state, "init script",
             notice.text.empty()
                 ? "the init script ended with exit code "
                       + std::to_string(notice.code)
                 : "the init script could not be run: " + notice.text,
             nullptr);
    }
    break;
  }
}

void sandbox_state::run_init_once() {
  if (record_.spec.init_script.empty() || record_.init_state != -1)
    return;
  record_.init_state = 0;
  self->send(link, atom::inject::value, record_.spec.init_script);
  publish("running its init script");
}

// -- verbs -----------------------------------------------------------------

void sandbox_state::exec(exec_call call) {
  if (record_.state == phase::paused && call.resume) {
    auto who = call.request->caller;
    auto waiting = std::make_shared<exec_call>(std::move(call));
    waiting->resume = false;
    resume_now(who, [this, waiting](const result<void>& done) {
      if (done)
        exec(std::move(*waiting));
      else
        refuse(*waiting, done.error());
    });
    return;
  }
  auto allowed = allows_exec(record_.id, record_.state, last_);
  if (!allowed && record_.state != phase::paused)
    return refuse(call, allowed.error());
  if (!link)
    return refuse(call,
                  {ec::unavailable, record_.id + " has no agent at the moment",
                   "try again"});
  if (!allowed) // but for a client that comes back: the link knows them
    call.refusal = allowed.error();
  else if (!busy_) { // the link says in a moment that it is
    record_.active_boot_ms = context->boot_ms();
    watch_idleness();
  }
  call.workdir = record_.spec.workdir;
  self->send(link, std::move(call));
}

void sandbox_state::refuse(const exec_call& call, const failure& why) {
  context->clients->send({call.request->route, call.request->id,
                          api::error_reply{why, record_.id, context->node}});
  if (call.table)
    self->send(call.table, atom::ended::value, call.request->route,
               call.request->id);
}

caf::result<api::get_reply> sandbox_state::get() {
  auto answer = self->make_response_promise<api::get_reply>();
  auto reply = std::make_shared<api::get_reply>();
  reply->sandbox.id = record_.id;
  if (!link || !metrics || !has_processes(record_.state)) {
    answer.deliver(*reply);
    return answer;
  }
  auto finish = [this, answer, reply]() mutable {
    if (!metrics) { // destroyed meanwhile
      answer.deliver(*reply);
      return;
    }
    self->request(metrics, 5s, atom::get::value)
        .then(
            [this, answer, reply](const sample_pair& last) mutable {
              reply->metrics = last.agent;
              self->request(link, 5s, atom::get::value)
                  .then(
                      [answer, reply](const link_summary& sum) mutable {
                        reply->execs = sum.execs;
                        reply->sandbox.last_heartbeat_ms =
                            sum.last_heartbeat_ms;
                        answer.deliver(*reply);
                      },
                      [answer, reply](caf::error&) mutable {
                        answer.deliver(*reply);
                      });
            },
            [answer, reply](caf::error&) mutable { answer.deliver(*reply); });
  };
  drive([this, finish, reply]() mutable {
    offload(
        self, context->driver_workers,
        [driver = context->driver, what = launch()] {
          return driver->stats(what);
        },
        [this, finish, reply](result<host_stats> got) mutable {
          if (got)
            reply->stats = *got;
          finish();
          driven();
        });
  });
  return answer;
}

void sandbox_state::tick() {
  if (!metrics || !has_processes(record_.state)
      || record_.state == phase::stopping)
    return;
  self->delayed_send(self, context->metrics_interval, atom::tick::value);
  if (driving_)
    return; // the next one will do
  drive([this] {
    offload(
        self, context->driver_workers,
        [driver = context->driver, what = launch()] {
          return driver->stats(what);
        },
        [this](result<host_stats> got) {
          if (got && metrics) {
            self->send(metrics, *got);
            on_oom(got->oom_kills);
          }
          driven();
        });
  });
}

sandbox_actor::behavior_type sandbox(sandbox_state::pointer self,
                                     context_ptr context,
                                     sandbox_owner_actor owner,
                                     sandbox_record record,
                                     std::vector<exec_record> execs) {
  auto& st = self->state;
  st.context = std::move(context);
  st.owner = std::move(owner);
  st.adopt(record, std::move(execs));
  return {
      [self](atom::start) { self->state.start(); },
      [self](atom::assign, const sandbox_record& as) {
        self->state.assign(as);
      },
      [self](const link_notice& notice) { self->state.on_notice(notice); },
      [self](const exit_report& report) { self->state.on_exit(report); },
      [self](atom::oom, std::uint64_t kills) { self->state.on_oom(kills); },
      [self](exec_call& call) { self->state.exec(std::move(call)); },
      [self](const request_ptr& request) {
        if (self->state.link)
          self->send(self->state.link, request);
      },
      [self](atom::gone, const std::string& route) {
        if (self->state.link)
          self->send(self->state.link, atom::gone::value, route);
      },
      [self](atom::destroy, const std::string& who) {
        return self->state.destroy(who);
      },
      [self](atom::pause, const std::string& who) {
        return self->state.pause(who);
      },
      [self](atom::resume, const std::string& who) {
        return self->state.resume(who);
      },
      [self](atom::list) { return self->state.ps(); },
      [self](atom::kill, const std::string& exec, int signal) {
        return self->state.kill(exec, signal);
      },
      [self](atom::revoke, const std::string& key) {
        if (self->state.link)
          self->send(self->state.link, atom::revoke::value, key);
      },
      [self](atom::idle) { self->state.idle_over(); },
      [self](atom::ttl) { self->state.ttl_over(); },
      [self](atom::get) { return self->state.get(); },
      [self](atom::tick) { self->state.tick(); },
      [self](atom::expire, std::uint64_t generation) {
        self->state.deadline(generation);
      },
      [self](atom::stop) { self->state.stop(); },
  };
}

} // namespace caged
