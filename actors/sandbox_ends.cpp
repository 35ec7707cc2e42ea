#include "actors/sandbox.hpp"

#include <algorithm>
#include <utility>

#include <caf/actor_system.hpp>

#include "actors/placements.hpp"
#include "messages/text.hpp"

// How a sandbox ends: killed, failed, destroyed, freed.
namespace caged {

using namespace std::chrono_literals;

namespace {

constexpr auto free_retry = 5s;
/// For the series of a destroyed sandbox to leave.
constexpr auto series_patience = 10s;

} // namespace

void sandbox_state::on_oom(std::uint64_t kills) {
  if (kills <= oom_kills_ || !has_processes(record_.state)
      || record_.state == phase::stopping)
    return;
  auto fresh = kills - oom_kills_;
  oom_kills_ = kills;
  record("kernel",
         "out of memory: the limit of " + std::to_string(record_.spec.memory_mb)
             + " MB was reached and the kernel killed " + std::to_string(fresh)
             + (fresh == 1 ? " process" : " processes"));
}

void sandbox_state::on_exit(const exit_report& report) {
  if (!has_processes(record_.state) || record_.state == phase::stopping)
    return;
  if (record_.process.pid != 0 && !(report.process == record_.process))
    return; // of an earlier start
  fail_with("kernel",
            report.oom_killed
                ? "out of memory: the limit of "
                      + std::to_string(record_.spec.memory_mb)
                      + " MB was reached and the kernel killed its agent"
                : report.text,
            failure{ec::agent_lost, report.text, {}});
}

/// Everything but the disk layer is freed. The state changes at once; the one
/// commit follows when it is true.
void sandbox_state::fail_with(const std::string& who, const std::string& text,
                              std::optional<failure> for_client) {
  if (record_.state == phase::pending || std::exchange(handing_out_, false))
    start_error_ = for_client ? for_client : failure{ec::agent_lost, text, {}};
  auto why = note(phase::failed, who, text);
  if (record_.boot_id == context->boot_id)
    record_.active_boot_ms = context->boot_ms(); // its retention counts from it
  context->metrics->state(record_.id, phase::failed);
  failure end{ec::agent_lost, record_.id + " has failed: " + why.text,
              "its disk layer is kept until you destroy it; caged why "
                  + record_.id + " shows its history"};
  if (link)
    self->send(link, atom::fail::value, end);
  publish();
  drive([this, why] {
    offload(
        self, context->driver_workers,
        [driver = context->driver, journal = context->journal, what = launch(),
         record = record_, why]() mutable -> result<void> {
          if (auto done = driver->destroy(what.id, true); !done)
            return done;
          std::vector<lease> kept;
          for (const auto& item : driver->leases(what))
            if (item.kind == "directory")
              kept.push_back(item);
          record.disk_kept = true;
          return journal->release(record, why, kept);
        },
        [this](result<void> done) {
          record_.disk_kept = true;
          if (!done)
            record("node", "freeing it failed: " + done.error().message);
          driven();
          retention();
          // Where that cannot be written the next daemon counts anew.
          offload(
              self, context->store_calls,
              [store = context->store, record = record_] {
                return keep_disk_only(*store, record);
              },
              [](const result<void>&) {});
        });
  });
}

std::chrono::milliseconds sandbox_state::retention_left() const {
  // As for the time to live: within one boot the date does not matter.
  auto since =
      record_.boot_id == context->boot_id && record_.active_boot_ms != 0
          ? context->boot_ms() - record_.active_boot_ms
          : wall_clock_ms() - record_.changed_ms;
  // A clock that was moved back must not keep it for ever.
  return std::clamp<std::chrono::milliseconds>(
      context->failed_retention - std::chrono::milliseconds(since), 0ms,
      context->failed_retention);
}

void sandbox_state::retention() {
  constexpr std::chrono::milliseconds most = 60s; // as for every long timer
  self->delayed_send(self, std::min(retention_left(), most),
                     atom::expire::value, std::uint64_t{0});
}

caf::result<bool> sandbox_state::destroy(const std::string& who) {
  auto answer = self->make_response_promise<bool>();
  destroyers_.push_back(answer);
  end(who);
  return answer;
}

/// The same with nobody to answer: a promise of a message that is no request
/// would go to its sender as a message of its own.
void sandbox_state::end(const std::string& who) {
  // Destroyed: everything is freed, and that is being written.
  if (record_.state == phase::stopping || record_.state == phase::destroyed)
    return;
  ++generation_;
  bool was_failed = record_.state == phase::failed;
  if (link)
    self->send(
        link, atom::fail::value,
        failure{ec::agent_lost, record_.id + " was destroyed by " + who, {}});
  change(phase::stopping, who,
         who == "retention" && was_failed
             ? "its retention after the failure is over"
         : who == "store" ? "its placement is gone"
                          : "destroy was asked for",
         // Where that cannot be written it goes on: on a full disk this makes
         // room. It is answered when its end is written.
         [this](const result<void>&) { free_everything(); });
}

void sandbox_state::free_everything() {
  drive([this] {
    offload(
        self, context->driver_workers,
        [driver = context->driver, what = record_.id] {
          return driver->destroy(what, false);
        },
        [this](result<void> done) {
          if (!done) {
            freed(done);
            driven();
            return;
          }
          auto asked_by = last_.who;
          auto why = note(phase::destroyed, asked_by, "everything is freed");
          // Other nodes have no memory of it. Of one that was never there
          // nothing is kept: the same request may still become one elsewhere.
          std::optional<gone_request> remember;
          if (context->peers && (!start_error_ || record_.disk_kept))
            remember =
                gone_request{record_.id,     context->node_id, context->node,
                             record_.digest, why.text,         why.time_ms};
          offload(
              self, context->store_calls,
              [store = context->store, journal = context->journal,
               logs = context->logs, record = record_, why, remember,
               node = context->node_id]() -> result<void> {
                // The journal's commit is the last: a daemon that dies before
                // it frees again what has a record there and no placement.
                logs->remove(record.id);
                if (auto gone = unplace(*store, record, node,
                                        remember ? &*remember : nullptr);
                    !gone)
                  return gone;
                return journal->release(record, why, {});
              },
              [this](result<void> written) {
                freed(written);
                driven();
              });
        });
  });
}

void sandbox_state::freed(const result<void>& done) {
  if (!done) {
    record_.state = phase::stopping;
    for (auto& answer : std::exchange(destroyers_, {}))
      answer.deliver(make_error(done.error()));
    auto text = "it could not be freed: " + escape_text(done.error().message);
    if (last_.text != text)
      change(phase::stopping, last_.who, text, nullptr);
    else
      publish();
    self->delayed_send(self, free_retry, atom::start::value);
    return;
  }
  context->logs->remove(record_.id);
  publish();
  auto answer_all = [this] {
    for (auto& answer : std::exchange(destroyers_, {}))
      answer.deliver(true);
    stop();
  };
  if (!metrics)
    return answer_all();
  // Who is told that it is destroyed finds no series of it any more.
  self->request(std::exchange(metrics, {}), series_patience, atom::gone::value)
      .then([answer_all](bool) { answer_all(); },
            [answer_all](const caf::error&) { answer_all(); });
}

void sandbox_state::stop() {
  if (link)
    self->send(link, atom::stop::value);
  if (metrics)
    self->send(metrics, atom::stop::value);
  self->quit();
}

} // namespace caged
