#include "actors/publisher.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include <caf/send.hpp>

#include "actors/fleet_records.hpp"

namespace caged {

using namespace std::chrono_literals;

namespace {

/// From a change to its copy: what follows in this time goes with it, so that
/// creating one is one write.
constexpr auto gather_time = 500ms;
/// Until the next try at a store that is away.
constexpr auto retry_interval = 2s;
/// From the start to the first look: adopting goes first.
constexpr auto first_look = 2s;
constexpr auto look_interval = 1h;
/// How long a repeat of an `up` is known (DESIGN.md, section 6).
constexpr std::int64_t request_kept_ms = 10 * 60 * 1000;
constexpr auto request_interval = 1min;

/// What the journal has of sandboxes that are somebody's, and that the store
/// should have, without causes.
result<std::vector<history_record>>
heads_in(journal& from, const node_context& of, std::int64_t now_ms) {
  auto live = from.sandboxes();
  if (!live)
    return tl::unexpected<failure>(std::move(live.error()));
  auto gone = from.destroyed();
  if (!gone)
    return tl::unexpected<failure>(std::move(gone.error()));
  std::erase_if(*gone, [&](const sandbox_record& each) {
    return each.owner.empty() || each.changed_ms < now_ms - history_kept_ms;
  });
  std::sort(gone->begin(), gone->end(), [](const auto& a, const auto& b) {
    return a.changed_ms > b.changed_ms;
  });
  if (gone->size() > limits::history_most)
    gone->resize(limits::history_most);
  std::vector<history_record> out;
  for (const auto* group : {&*live, &*gone})
    for (const auto& each : *group)
      if (!each.owner.empty())
        out.push_back(head_of(each, of.node_id, of.node));
  return out;
}

} // namespace

void publisher_state::changed(const history_record& head) {
  waiting_[head.sandbox] = head;
  write_in(gather_time);
}

void publisher_state::write_in(std::chrono::milliseconds time) {
  if (write_timer_ || writing_ || waiting_.empty())
    return;
  write_timer_ = true;
  self->delayed_send(self, time, atom::tick::value);
}

void publisher_state::look_in(std::chrono::milliseconds time) {
  self->delayed_send(self, time, atom::recheck::value);
}

bool publisher_state::store_is_away() const {
  const auto why = context->store_away ? context->store_away() : std::nullopt;
  // A node that was removed still says what became of its sandboxes.
  return why && why->code != ec::denied;
}

void publisher_state::start() {
  look_in(first_look);
  self->delayed_send(self, request_interval, atom::expire::value);
}

/// One commit at a time, and room for those of clients between two.
void publisher_state::write() {
  write_timer_ = false;
  if (writing_)
    return;
  if (waiting_.empty() || store_is_away()) {
    if (stopping_)
      return end();
    return write_in(retry_interval);
  }
  writing_ = true;
  std::vector<history_record> some;
  while (!waiting_.empty() && some.size() < histories_a_commit) {
    some.push_back(std::move(waiting_.begin()->second));
    waiting_.erase(waiting_.begin());
  }
  offload(
      self, context->records,
      [journal = context->journal,
       some]() mutable -> result<std::vector<history_record>> {
        for (auto& each : some) {
          auto causes = journal->causes(each.sandbox);
          if (!causes)
            return tl::unexpected<failure>(std::move(causes.error()));
          each.causes = std::move(*causes);
        }
        return std::move(some);
      },
      [this, some](const result<std::vector<history_record>>& read) {
        if (!read)
          return written(some, tl::unexpected<failure>(read.error()));
        offload(
            self, context->store_calls,
            [store = context->store, what = *read] {
              return write_histories(*store, what);
            },
            [this, some](const result<void>& done) { written(some, done); });
      });
}

/// What was not is to be written again; unless it is out of date by now.
void publisher_state::written(const std::vector<history_record>& what,
                              const result<void>& done) {
  writing_ = false;
  if (!done)
    for (const auto& each : what)
      waiting_.emplace(each.sandbox, each);
  if (stopping_) {
    if (done && !waiting_.empty())
      return write();
    return end();
  }
  std::chrono::milliseconds time = gather_time;
  if (!done)
    time = retry_interval;
  write_in(time);
}

/// What is waiting goes first: nobody may come back to do it.
caf::result<bool> publisher_state::stop() {
  auto answer = self->make_response_promise<bool>();
  stopping_ = answer;
  if (!writing_)
    write();
  return answer;
}

void publisher_state::end() {
  stopping_->deliver(true);
  self->quit();
}

/// Writes what a daemon that died has left undone, and sweeps.
void publisher_state::look() {
  if (store_is_away())
    return look_in(retry_interval);
  offload(
      self, context->records,
      [journal = context->journal, context = context, now = now_ms()] {
        return heads_in(*journal, *context, now);
      },
      [this](result<std::vector<history_record>> heads) {
        if (!heads)
          return look_in(look_interval);
        offload(
            self, context->store_calls,
            [store = context->store, node = context->node_id, now = now_ms()] {
              return sweep_histories(*store, node, now);
            },
            [this, heads = std::move(*heads)](const result<swept>& there) {
              if (!there)
                return look_in(retry_interval);
              context->fleet->unreadable_histories(there->unreadable);
              compare_with(*there, heads);
              look_in(look_interval);
            });
      });
}

void publisher_state::compare_with(const swept& there,
                                   const std::vector<history_record>& heads) {
  for (const auto& each : heads)
    if (const auto at = there.own.find(each.sandbox);
        at == there.own.end()
        || at->second != std::pair{each.state, each.changed_ms})
      waiting_.emplace(each.sandbox, each); // it has newer ones already
  write_in(gather_time);
}

/// By this node's view, which has all of them. One that has changed stays.
void publisher_state::sweep_requests() {
  self->delayed_send(self, request_interval, atom::expire::value);
  if (store_is_away())
    return;
  std::set<std::string> known;
  std::string first_live;
  for (const auto& each : context->fleet->nodes()) {
    known.insert(each.node.id);
    if (each.live && (first_live.empty() || each.node.id < first_live))
      first_live = each.node.id;
  }
  const bool first = context->fleet->ready() && first_live == context->node_id;
  auto old = context->fleet->gone_requests();
  std::erase_if(old, [&](const directory::kept_request& each) {
    const auto& node = each.what.node;
    return each.what.gone_ms > now_ms() - request_kept_ms
           || (node != context->node_id && !(first && !known.contains(node)));
  });
  if (old.empty())
    return;
  offload(
      self, context->store_calls,
      [store = context->store, old] {
        std::vector<record> keys;
        for (const auto& each : old)
          keys.push_back({each.key, {}, each.revision});
        return erase_unchanged(*store, keys);
      },
      [](const result<void>&) {}); // the next one tries again
}

publisher_actor::behavior_type publisher(publisher_state::pointer self,
                                         context_ptr context,
                                         std::function<std::int64_t()> now_ms) {
  self->state.context = std::move(context);
  self->state.now_ms = std::move(now_ms);
  return {
      [self](const history_record& head) { self->state.changed(head); },
      [self](atom::start) { self->state.start(); },
      [self](atom::tick) { self->state.write(); },
      [self](atom::recheck) { self->state.look(); },
      [self](atom::expire) { self->state.sweep_requests(); },
      [self](atom::stop) { return self->state.stop(); },
  };
}

std::function<void(const sandbox_record&)>
publishing(publisher_actor to, std::string node, std::string node_name) {
  return [to = std::move(to), node = std::move(node),
          node_name = std::move(node_name)](const sandbox_record& of) {
    if (!of.owner.empty()) // nobody's: a member of the pool
      caf::anon_send(to, head_of(of, node, node_name));
  };
}

} // namespace caged
