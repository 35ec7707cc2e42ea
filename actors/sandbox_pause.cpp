#include "actors/sandbox.hpp"

#include <algorithm>

#include "actors/mcp_server.hpp"
#include "messages/text.hpp"

// Pause and resume, idleness and time to live of a sandbox. The journal says
// paused before the freezer is asked and running after it: a daemon that died
// in between freezes or thaws again what the journal says.
namespace caged {

using namespace std::chrono_literals;

namespace {

/// A timer that is under way keeps its actor in memory, even one that has ended
/// (CAF's clock owns the message and its receiver): long times come in pieces.
constexpr std::chrono::milliseconds timer_most = 60s;

/// Delivers true, or the failure.
std::function<void(result<void>)> tells(caf::response_promise answer) {
  return [answer](const result<void>& done) mutable {
    if (done)
      answer.deliver(true);
    else
      answer.deliver(make_error(done.error()));
  };
}

} // namespace

// -- pause and resume --------------------------------------------------------

/// Starts to freeze it. False: the state does not allow it.
bool sandbox_state::pause_now(const std::string& who, const std::string& text,
                              next then) {
  if (record_.state != phase::running)
    return false;
  if (link)
    self->send(link, atom::pause::value);
  change(phase::paused, who, text, [this, then](result<void> written) {
    if (!written) { // what is not on disk is not so
      if (record_.state == phase::paused) {
        change(phase::running, "node",
               "that it is paused could not be recorded: "
                   + written.error().message,
               nullptr);
        if (!busy_)
          became_idle(); // tried again after another span
      }
      if (link)
        self->send(link, atom::resume::value);
      then(written);
      return;
    }
    drive([this, then] {
      if (record_.state != phase::paused) { // destroyed or failed meanwhile
        then(fail(ec::wrong_state, record_.id + " is no longer there"));
        driven();
        return;
      }
      offload(
          self, context->driver_workers,
          [driver = context->driver, id = record_.id] {
            return driver->pause(id);
          },
          [this, then](result<void> frozen) {
            if (!frozen && record_.state == phase::paused) {
              if (link)
                self->send(link, atom::resume::value);
              change(phase::running, "node",
                     "it could not be frozen: " + frozen.error().message,
                     nullptr);
              if (!busy_)
                became_idle(); // tried again after another span
            }
            then(frozen);
            driven();
          });
    });
  });
  return true;
}

bool sandbox_state::resume_now(const std::string& who, next then) {
  if (record_.state != phase::paused)
    return false;
  drive([this, who, then] {
    if (record_.state != phase::paused) {
      then({}); // somebody else was faster
      driven();
      return;
    }
    offload(
        self, context->driver_workers,
        [driver = context->driver, id = record_.id] {
          return driver->resume(id);
        },
        [this, who, then](result<void> thawed) {
          if (thawed && record_.state == phase::paused) {
            if (link)
              self->send(link, atom::resume::value);
            if (!busy_)
              became_idle(); // a new span begins
            change(phase::running, who, "resume was asked for",
                   [this, then](const result<void>& written) {
                     if (!written && record_.state == phase::running)
                       paused_after_all(written.error());
                     then(written);
                   });
          } else {
            then(thawed);
          }
          driven();
        });
  });
  return true;
}

/// The journal could not take that it runs: what it says is so.
void sandbox_state::paused_after_all(const failure& why) {
  if (link)
    self->send(link, atom::pause::value);
  change(phase::paused, "node",
         "that it runs could not be recorded: " + why.message, nullptr);
  freeze(true);
}

/// On re-adoption: what the journal says is done once more.
void sandbox_state::freeze(bool again) {
  auto driver = context->driver;
  drive([this, driver, again] {
    offload(
        self, context->driver_workers,
        [driver, id = record_.id, again]() -> result<void> {
          if (!driver->capabilities().pause)
            return {};
          return again ? driver->pause(id) : driver->resume(id);
        },
        [this](const result<void>& done) {
          if (!done)
            record("node", "freezer: " + done.error().message);
          driven();
        });
  });
}

caf::result<bool> sandbox_state::pause(const std::string& who) {
  if (record_.state == phase::paused)
    return false;
  if (!context->driver->capabilities().pause)
    return make_error(ec::unsupported,
                      "the runtime of " + record_.id + " cannot pause");
  auto answer = self->make_response_promise<bool>();
  if (!pause_now(who, "pause was asked for", tells(answer)))
    answer.deliver(refused_change("only a running sandbox can be paused"));
  return answer;
}

caf::result<bool> sandbox_state::resume(const std::string& who) {
  if (record_.state == phase::running)
    return false;
  auto answer = self->make_response_promise<bool>();
  if (!resume_now(who, tells(answer)))
    answer.deliver(refused_change("only a paused sandbox can be resumed"));
  return answer;
}

caf::error sandbox_state::refused_change(const std::string& rule) const {
  return make_error(ec::wrong_state,
                    record_.id + " is " + std::string{to_string(record_.state)}
                        + "; " + rule,
                    "caged why " + record_.id + " shows its history");
}

// -- its execs ---------------------------------------------------------------

caf::result<api::ps_reply> sandbox_state::ps() {
  if (record_.state == phase::failed || record_.state == phase::stopping)
    return make_error(allows_exec(record_.id, record_.state, last_).error());
  auto answer = self->make_response_promise<api::ps_reply>();
  if (!link) {
    api::ps_reply known{record_.id, {}};
    for (const auto& row : execs_) // until its link has them
      known.execs.push_back(info_of(row));
    answer.deliver(std::move(known));
    return answer;
  }
  self->request(link, 5s, atom::list::value)
      .then([answer](
                api::ps_reply& got) mutable { answer.deliver(std::move(got)); },
            [answer](caf::error& why) mutable {
              answer.deliver(std::move(why));
            });
  return answer;
}

caf::result<std::string> sandbox_state::kill(const std::string& exec,
                                             int signal) {
  if (auto allowed = allows_exec(record_.id, record_.state, last_); !allowed)
    return make_error(allowed.error());
  if (!link)
    return make_error(ec::unavailable,
                      record_.id + " has no agent at the moment", "try again");
  auto answer = self->make_response_promise<std::string>();
  self->request(link, 15s, atom::kill::value, exec, signal)
      .then(
          [answer](std::string& id) mutable { answer.deliver(std::move(id)); },
          [answer](caf::error& why) mutable {
            answer.deliver(std::move(why));
          });
  return answer;
}

// -- idleness and time to live -----------------------------------------------

void sandbox_state::became_busy() {
  busy_ = true;
}

void sandbox_state::became_idle() {
  busy_ = false;
  record_.active_boot_ms = context->boot_ms();
  offload(
      self, context->records,
      [journal = context->journal, id = record_.id,
       at = record_.active_boot_ms] { return journal->touch(id, at); },
      [](const result<void>&) {}); // a shorter span after a restart, no more
  watch_idleness();
}

void sandbox_state::watch_idleness() {
  auto limit = record_.spec.idle_timeout;
  if (limit.count() == 0 || busy_ || idle_timer_
      || !context->driver->capabilities().pause)
    return;
  if (record_.boot_id != context->boot_id || record_.active_boot_ms == 0)
    record_.active_boot_ms = context->boot_ms();
  auto idle =
      std::chrono::milliseconds(context->boot_ms() - record_.active_boot_ms);
  idle_timer_ = true;
  self->delayed_send(
      self,
      std::clamp<std::chrono::milliseconds>(limit - idle, 0ms, timer_most),
      atom::idle::value);
}

void sandbox_state::idle_over() {
  idle_timer_ = false;
  if (record_.state == phase::unhealthy) { // it may come back
    idle_timer_ = true;
    self->delayed_send(self, timer_most, atom::idle::value);
    return;
  }
  if (busy_ || record_.state != phase::running)
    return; // it is watched again when that is over
  if (context->boot_ms() - record_.active_boot_ms
      < record_.spec.idle_timeout.count())
    return watch_idleness();
  // Its session never began or was lost with a daemon: nobody will resume it.
  if (mcp_server::belongs_to_session(record_.spec)) {
    end("end of its MCP session");
    return;
  }
  pause_now("idle timeout",
            "idle for " + format_duration(record_.spec.idle_timeout)
                + ", its idle timeout",
            [](const result<void>&) {});
}

/// Within one boot no change of the date moves the end. After another boot only
/// the date is left, and it must not keep the sandbox for ever.
std::chrono::milliseconds sandbox_state::ttl_left() const {
  auto age =
      std::chrono::milliseconds(record_.boot_id == context->boot_id
                                    ? context->boot_ms() - record_.born_boot_ms
                                    : wall_clock_ms() - record_.created_ms);
  auto limit = record_.spec.ttl;
  return std::clamp<std::chrono::milliseconds>(limit - age, 0ms, limit);
}

void sandbox_state::watch_ttl() {
  if (record_.spec.ttl.count() == 0 || ttl_timer_)
    return;
  ttl_timer_ = true;
  self->delayed_send(self, std::min(ttl_left(), timer_most), atom::ttl::value);
}

void sandbox_state::ttl_over() {
  ttl_timer_ = false;
  if (record_.state == phase::stopping || record_.state == phase::destroyed)
    return;
  if (ttl_left() > 0ms)
    watch_ttl();
  else
    end("time to live");
}

} // namespace caged
