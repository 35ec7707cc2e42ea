#include "actors/agent_link.hpp"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include <caf/actor_system.hpp>
#include <caf/send.hpp>

#include "messages/text.hpp"

namespace caged {

using nlohmann::json;
using namespace std::chrono_literals;
namespace ap = agent_protocol;

namespace {

/// Control lines an agent may send in a second before it counts as a flood;
/// data, ack and credit are bounded by credit instead.
constexpr int lines_per_second = 200;
constexpr auto call_deadline = 10s;
constexpr auto backoff_max = 500ms;
} // namespace

agent_link_state::~agent_link_state() {
  hang_up();
}

std::chrono::steady_clock::time_point agent_link_state::now() const {
  return self->home_system().clock().now();
}

void agent_link_state::notify(link_notice notice) {
  if (owner)
    self->send(owner, std::move(notice));
}

// -- the connection ----------------------------------------------------------

void agent_link_state::dial(const link_target& target) {
  address_ = target.address;
  boot_ = target.known_boot;
  known_ = target.execs;
  wanted_ = true;
  backoff_ = 2ms;
  paused_ = target.paused;
  if (paused_)
    return; // a frozen agent answers nothing; resume() dials
  watch();
  connect();
}

void agent_link_state::watch() {
  last_beat_ = now(); // the start counts as a heartbeat
  if (watching_)
    return;
  watching_ = true;
  self->delayed_send(self,
                     context->heartbeat_interval * limits::heartbeats_missed,
                     atom::beat::value);
}

void agent_link_state::pause() {
  paused_ = true;
}

void agent_link_state::resume() {
  if (!paused_)
    return;
  paused_ = false;
  silent_ = false;
  watch();
  if (!channel_ && wanted_)
    connect();
  if (connected_)
    let_back();
}

void agent_link_state::connect() {
  hang_up();
  auto generation = ++generation_;
  auto to = caf::actor_cast<agent_link_actor>(self);
  auto weak = caf::actor_cast<caf::actor_addr>(to);
  // The connection must not keep the actor alive: a handler that finds it gone
  // drops what it has.
  auto post = [weak](link_event event) {
    if (auto link = caf::actor_cast<agent_link_actor>(weak))
      caf::anon_send(link, std::move(event));
  };
  agent_handlers handlers;
  handlers.on_open = [post, generation] {
    link_event event;
    event.generation = generation;
    event.opened = true;
    post(std::move(event));
  };
  handlers.on_line = [post, generation](ap::line message) {
    link_event event;
    event.generation = generation;
    event.message = std::move(message);
    post(std::move(event));
  };
  handlers.on_error = [post, generation](failure why, bool closed) {
    link_event event;
    event.generation = generation;
    event.error = std::move(why);
    event.closed = closed;
    post(std::move(event));
  };
  channel_ = context->agents->dial(address_, std::move(handlers));
}

void agent_link_state::hang_up() {
  if (channel_)
    channel_->close();
  channel_.reset();
  connected_ = false;
  ++generation_;
}

void agent_link_state::redial(std::uint64_t wanted_generation) {
  if (wanted_ && !paused_ && wanted_generation == generation_)
    connect();
}

/// The connection ended: whoever waits for an answer gets the reason now, and
/// a new dial follows. Execs live on in the agent.
void agent_link_state::lost(const failure& why) {
  hang_up();
  auto calls = std::move(calls_);
  calls_.clear();
  for (auto& [_, done] : calls)
    done(tl::unexpected<failure>(why));
  end_dials(why);
  if (!wanted_)
    return;
  auto wait = strikes_ == 0 ? backoff_
                            : std::min<std::chrono::milliseconds>(
                                30s, 1000ms * (1 << std::min(strikes_, 5)));
  backoff_ = std::min<std::chrono::milliseconds>(backoff_ * 2, backoff_max);
  self->delayed_send(self, wait, atom::dial::value, generation_);
}

void agent_link_state::violation(const std::string& text) {
  ++strikes_;
  notify({link_notice::kind::violation, text, {}, {}, 0});
  lost({ec::agent_lost, "the agent broke its protocol: " + text, {}});
}

bool agent_link_state::spend_budget() {
  auto t = now();
  if (t - budget_start_ >= 1s) {
    budget_start_ = t;
    budget_ = 0;
  }
  if (++budget_ <= lines_per_second)
    return true;
  violation("it sent more than " + std::to_string(lines_per_second)
            + " messages a second that nobody asked for");
  return false;
}

void agent_link_state::on_event(link_event& event) {
  if (event.generation != generation_ || !channel_)
    return;
  auto channel = channel_; // lost() may drop it
  if (event.opened) {
    say_hello();
    return;
  }
  if (event.error) {
    auto& why = *event.error;
    why.message = escape_text(why.message);
    if (why.code == ec::denied) {
      violation(why.message);
    } else if (event.closed) {
      lost(why);
    } else {
      // One bad line: it is told so, and the link goes on.
      channel->send(ap::encode_line("error", std::nullopt,
                                    {{"code", std::string{to_string(why.code)}},
                                     {"message", why.message}}));
      spend_budget();
      channel->consumed(1);
    }
    return;
  }
  if (event.message) {
    on_line(std::move(*event.message));
    channel->consumed(1);
  }
}

// -- conversation
// --------------------------------------------------------------

void agent_link_state::call(const char* type, const json& payload, answer done,
                            std::string_view raw) {
  if (!channel_) {
    done(fail(ec::agent_lost, "the agent of " + id + " is not connected",
              "try again in a moment"));
    return;
  }
  auto call_id = next_id_++;
  calls_.emplace(call_id, std::move(done));
  channel_->send(raw.data() != nullptr
                     ? ap::encode_data(type, call_id, payload, raw, true)
                     : ap::encode_line(type, call_id, payload));
  self->delayed_send(self, call_deadline, atom::expire::value, call_id);
}

void agent_link_state::call_expired(std::uint64_t call_id) {
  auto it = calls_.find(call_id);
  if (it == calls_.end()) {
    auto late = std::find_if(held_.begin(), held_.end(), [&](const auto& item) {
      return item.timer == call_id;
    });
    if (late == held_.end())
      return;
    auto item = std::move(*late);
    held_.erase(late);
    context->clients->unwatch(item.call.request->route);
    refuse(item.call, not_connected());
    return;
  }
  if (paused_) { // a frozen agent is given its time when it is thawed
    self->delayed_send(self, call_deadline, atom::expire::value, call_id);
    return;
  }
  auto done = std::move(it->second);
  calls_.erase(it);
  done(fail(ec::timeout, "the agent of " + id + " did not answer within "
                             + format_duration(call_deadline)));
}

void agent_link_state::say_hello() {
  call("hello",
       {{"protocol", ap::version},
        {"raw", true},
        {"client", "caged-node/" + context->version}},
       [this](result<json> got) {
         if (got)
           on_hello(*got);
         else if (channel_)
           violation("hello was not answered: "
                     + escape_text(got.error().message));
       });
}

void agent_link_state::on_hello(const json& payload) {
  auto boot = ap::text(payload, "boot");
  auto version = ap::text(payload, "agent");
  if (!boot || boot->size() > 64 || !version || version->size() > 64) {
    violation("its hello lacks boot id or version");
    return;
  }
  if (!boot_.empty() && boot_ != *boot) {
    // A new agent: it knows nothing of the execs of the old one.
    auto old = std::move(execs_);
    execs_.clear();
    for (auto& [exec, was] : old)
      reply(was, api::error_reply{{ec::agent_restarted,
                                   "the agent of " + id
                                       + " was restarted; its execs are gone",
                                   {}},
                                  id,
                                  context->node});
    known_.clear();
  }
  boot_ = *boot;
  auto seen_version = escape_text(*version, 64);
  auto listed = payload.value("execs", json::array());
  call("resumed", resumed(false),
       [this, seen_version, listed](result<json> got) {
         if (!got) {
           if (channel_)
             violation("it refused the environment: "
                       + escape_text(got.error().message));
           return;
         }
         connected_ = true;
         backoff_ = 2ms;
         resume_execs(listed);
         notify({link_notice::kind::up, {}, boot_, seen_version, 0});
         if (!init_script_.empty())
           start_init_exec();
       });
}

/// The environment of every exec goes over the link, so that it never stands
/// in the runtime's configuration on disk.
json agent_link_state::resumed(bool thawed) const {
  json out = {{"env", setup->env},
              {"cpus", setup->cpus},
              {"memory_bytes", setup->memory_mb << 20U}};
  if (thawed) {
    std::string seed;
    std::random_device kernel;
    for (int i = 0; i < 8; ++i) {
      auto word = kernel();
      seed.append(reinterpret_cast<const char*>(&word), sizeof word);
    }
    out["entropy"] = base64_encode(seed);
    out["time_ns"] = std::chrono::duration_cast<std::chrono::nanoseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
  }
  return out;
}

/// From the pool to a tenant. A connection that is lost meanwhile is made anew,
/// and its hello does the same.
void agent_link_state::assign(const link_assigned& to) {
  setup = to.setup;
  metrics = to.metrics;
  resume();
  if (!connected_)
    return;
  call("resumed", resumed(true), [this](const result<json>& got) {
    if (got)
      notify({link_notice::kind::up, {}, boot_, {}, 0});
    else if (channel_)
      violation("it refused its tenant's setup: "
                + escape_text(got.error().message));
  });
}

void agent_link_state::on_line(ap::line message) {
  const auto& type = message.type;
  if (type == "data" || type == "ack" || type == "credit" || type == "eof"
      || type == "exit" || (type == "close" && !message.id)) {
    on_stream_line(message);
    return;
  }
  if (message.id) {
    auto it = calls_.find(*message.id);
    if (it == calls_.end()) {
      spend_budget(); // late, or invented
      return;
    }
    auto done = std::move(it->second);
    calls_.erase(it);
    if (type == "error") {
      auto code = ap::optional_text(message.payload, "code");
      auto text = ap::optional_text(message.payload, "message");
      done(
          fail(code ? ec_from_string(code->value_or("internal")) : ec::internal,
               text ? escape_text(text->value_or("no reason given"))
                    : "no reason given"));
    } else {
      done(std::move(message.payload));
    }
    return;
  }
  if (!spend_budget())
    return;
  if (type == "heartbeat") {
    last_beat_ = now();
    last_beat_wall_ = wall_clock_ms();
    if (metrics)
      self->send(metrics, atom::beat::value);
    if (silent_) {
      silent_ = false;
      notify({link_notice::kind::alive, "its agent answers again", {}, {}, 0});
    }
  } else if (type == "metrics") {
    on_metrics(message.payload);
  } else if (type == "error") {
    on_agent_error(message.payload);
  } else if (type == "bye") {
    lost({ec::agent_lost, "the agent of " + id + " said goodbye", {}});
  } else if (type != "pong") {
    channel_->send(
        ap::encode_line("error", std::nullopt,
                        {{"code", "bad_request"},
                         {"message", "unknown type " + caged::quoted(type)}}));
  }
}

/// A refused sample stands in `why`, and the link goes on: limits and alerts
/// rest on the host's own reading.
void agent_link_state::on_metrics(const json& payload) {
  auto refused = [this](const std::string& what) {
    notify({link_notice::kind::violation,
            "its metrics were refused: " + what,
            {},
            {},
            0});
  };
  auto sample = ap::metrics_from_json(payload);
  if (!sample) {
    context->metrics->refused_sample(id);
    refused(escape_text(sample.error().message));
  } else if (metrics) {
    self->request(metrics, 5s, *sample)
        .then(
            [refused](bool plausible) {
              if (!plausible)
                refused("a value is negative, no number or above the sandbox's "
                        "limit");
            },
            [](caf::error&) {}); // it ends together with its sandbox
  }
}

/// An error without id: about a stream, or about a line of ours.
void agent_link_state::on_agent_error(const json& payload) {
  auto stream = ap::optional_text(payload, "stream");
  auto code = ap::optional_text(payload, "code");
  auto text = ap::optional_text(payload, "message");
  if (!stream || !*stream || !code || !text)
    return;
  auto it = execs_.find(**stream);
  if (it == execs_.end())
    return;
  auto what = ec_from_string(code->value_or("internal"));
  end_with(it->first, {what,
                       "the agent ended the exec: "
                           + escape_text(text->value_or("no reason given")),
                       what == ec::superseded
                           ? "somebody inside the sandbox attached to it"
                           : ""});
}

void agent_link_state::watchdog() {
  if (!wanted_ || paused_) {
    watching_ = false;
    return;
  }
  auto limit = context->heartbeat_interval * limits::heartbeats_missed;
  auto age =
      std::chrono::duration_cast<std::chrono::milliseconds>(now() - last_beat_);
  if (age >= limit) {
    if (!silent_) {
      silent_ = true;
      notify({link_notice::kind::silent,
              "no heartbeat for " + format_duration(limit) + " ("
                  + std::to_string(limits::heartbeats_missed) + " intervals)",
              {},
              {},
              0});
    }
    age = 0ms; // look again in a whole limit; a heartbeat ends it at once
  } else {
    strikes_ = connected_ ? 0 : strikes_;
  }
  self->delayed_send(self, limit - age, atom::beat::value);
}

// -- ends
// ----------------------------------------------------------------------

void agent_link_state::fail_all(const failure& why) {
  wanted_ = false;
  std::vector<std::string> all;
  for (auto& [exec_id, _] : execs_)
    all.push_back(exec_id);
  for (const auto& exec_id : all)
    end_with(exec_id, why);
  for (const auto& item : std::exchange(held_, {})) {
    context->clients->unwatch(item.call.request->route);
    refuse(item.call, why);
  }
  lost(why);
}

link_summary agent_link_state::summary() const {
  return {connected_, static_cast<int>(running_execs()), last_beat_wall_};
}

agent_link_actor::behavior_type agent_link(agent_link_state::pointer self,
                                           context_ptr context, std::string id,
                                           agent_setup setup,
                                           link_owner_actor owner,
                                           metrics_stream_actor metrics) {
  auto& st = self->state;
  st.context = std::move(context);
  st.id = std::move(id);
  st.setup = std::move(setup);
  st.owner = std::move(owner);
  st.metrics = std::move(metrics);
  return {
      [self](atom::dial, const link_target& to) { self->state.dial(to); },
      [self](link_event& event) { self->state.on_event(event); },
      [self](const exec_call& call) { self->state.exec(call); },
      [self](const request_ptr& request) { self->state.stream(request); },
      [self](atom::gone, const std::string& route) {
        self->state.client_gone(route);
      },
      [self](atom::pause) { self->state.pause(); },
      [self](atom::resume) { self->state.resume(); },
      [self](const link_assigned& to) { self->state.assign(to); },
      [self](atom::list) { return self->state.list(); },
      [self](atom::kill, const std::string& exec, int signal) {
        return self->state.kill(exec, signal);
      },
      [self](atom::revoke, const std::string& key) { self->state.revoke(key); },
      [self](atom::mcp, const std::string& request_id) {
        self->state.try_mcp(request_id);
      },
      [self](atom::inject, const std::string& script) {
        self->state.run_init(script);
      },
      [self](atom::fail, const failure& why) { self->state.fail_all(why); },
      [self](atom::dial, std::uint64_t generation) {
        self->state.redial(generation);
      },
      [self](atom::beat) { self->state.watchdog(); },
      [self](atom::expire, std::uint64_t id_of_call) {
        self->state.call_expired(id_of_call);
      },
      [self](atom::ended, const std::string& exec) {
        self->state.grace_over(exec);
      },
      [self](atom::get) { return self->state.summary(); },
      [self](atom::stop) {
        self->state.hang_up();
        self->quit();
      },
  };
}

} // namespace caged
