#include "actors/supervisor.hpp"

#include <algorithm>
#include <iterator>

#include "actors/histories.hpp"
#include "messages/text.hpp"

namespace caged {

namespace {
constexpr auto expiry_interval = std::chrono::hours(1);
}

reconciled reconcile(const node_memory& memory) {
  reconciled out;
  std::set<std::string> owned;
  for (auto sandbox : memory.sandboxes) {
    if (!sandbox.owner.empty())
      owned.insert(sandbox.id);
    const bool placed =
        !memory.stored || memory.stored->here.count(sandbox.id) != 0;
    if (!placed || sandbox.owner.empty())
      sandbox.state = phase::stopping;
    sandbox.taken_over = true;
    out.adopt.push_back(std::move(sandbox));
  }
  if (memory.stored)
    out.erase = find_strays(*memory.stored, owned);
  return out;
}

// -- start
// ---------------------------------------------------------------------

void supervisor_state::start() {
  started_ms_ = wall_clock_ms();
  auto plan = reconcile(memory);
  if (!plan.erase.empty()) {
    offload(
        self, context->store_calls,
        [store = context->store, what = std::move(plan.erase),
         node = context->node_id]() {
          return erase_strays(*store, what, node);
        },
        [](const result<void>&) {});
  }
  for (const auto& gone : memory.destroyed) {
    if (gone.owner.empty())
      continue; // was never anybody's
    sandbox_info info;
    info.id = gone.id;
    info.owner = gone.owner;
    info.node = context->node;
    info.state = phase::destroyed;
    info.spec = gone.spec;
    info.spec.env.clear();
    info.spec.init_script.clear();
    info.created_ms = gone.created_ms;
    info.last_cause = memory.last_causes[gone.id];
    destroyed_[gone.id] = std::move(info);
    requests_[{gone.owner, gone.request_id}] = {gone.id, gone.digest};
    keep_history({gone.id, gone.owner, gone.request_id});
  }
  for (const auto& sandbox : plan.adopt) {
    if (sandbox.owner.empty()) { // of an earlier daemon: made anew instead
      slots_.insert(sandbox.slot);
      member old;
      old.spec = sandbox.spec;
      old.slot = sandbox.slot;
      old.over = true;
      free_member(members_.emplace(sandbox.id, std::move(old)).first->second,
                  sandbox);
      continue;
    }
    std::vector<exec_record> execs;
    for (const auto& exec : memory.execs)
      if (exec.sandbox == sandbox.id)
        execs.push_back(exec);
    entry item;
    item.info.id = sandbox.id;
    item.info.owner = sandbox.owner;
    item.info.node = context->node;
    item.info.state = sandbox.state;
    item.info.spec = sandbox.spec;
    item.info.created_ms = sandbox.created_ms;
    item.info.last_cause = memory.last_causes[sandbox.id];
    item.request_id = sandbox.request_id;
    item.digest = sandbox.digest;
    item.slot = sandbox.slot;
    item.counted = sandbox.state;
    slots_.insert(sandbox.slot);
    reserve(reserved_, sandbox.spec, sandbox.state);
    if (!sandbox.spec.name.empty())
      names_[{sandbox.owner, sandbox.spec.name}] = sandbox.id;
    requests_[{sandbox.owner, sandbox.request_id}] = {sandbox.id,
                                                      sandbox.digest};
    auto& stored =
        sandboxes_.emplace(sandbox.id, std::move(item)).first->second;
    spawn(stored, sandbox, std::move(execs));
  }
  if (!memory.stored) {
    for (const auto& [id, _] : sandboxes_)
      unconfirmed_.insert(id);
    recheck_later();
  }
  memory = {};
  publish_capacity();
  admit();
  fill_pool();
}

void supervisor_state::spawn(entry& to, const sandbox_record& record,
                             std::vector<exec_record> execs) {
  to.handle =
      self->spawn(sandbox, context, caf::actor_cast<sandbox_owner_actor>(self),
                  record, std::move(execs));
  self->monitor(to.handle);
  if (record.state != phase::pending)
    self->send(to.handle, atom::start::value);
  else if (starting_.count(record.id) != 0) // its actor died of an error
    begin(record.id, to);
  else if (std::find(line_.begin(), line_.end(), record.id) == line_.end())
    line_.push_back(record.id);
}

/// A sandbox actor that died of an error is restarted by recover: the sandbox
/// itself lives on.
void supervisor_state::child_down(const caf::actor_addr& who) {
  for (auto& [id, item] : sandboxes_)
    if (item.handle.address() == who) {
      if (!stopping_ && item.info.state != phase::destroyed)
        respawn(id);
      return;
    }
  for (auto& [id, item] : members_)
    if (item.handle.address() == who) {
      item.ready = false;
      item.over = true;
      if (!stopping_)
        respawn(id);
      return;
    }
}

void supervisor_state::respawn(const std::string& wanted) {
  offload(
      self, context->records,
      [journal = context->journal, wanted]()
          -> result<std::pair<sandbox_record, std::vector<exec_record>>> {
        auto all = journal->sandboxes();
        if (!all)
          return tl::unexpected<failure>(all.error());
        auto execs = journal->execs();
        if (!execs)
          return tl::unexpected<failure>(execs.error());
        for (const auto& record : *all)
          if (record.id == wanted) {
            std::erase_if(*execs, [&](const exec_record& exec) {
              return exec.sandbox != wanted;
            });
            std::pair out{record, *execs};
            out.first.taken_over = true;
            return out;
          }
        return fail(ec::not_found, wanted + " is not in the journal");
      },
      [this, wanted](
          result<std::pair<sandbox_record, std::vector<exec_record>>> got) {
        if (got && got->first.owner.empty())
          got->first.state = phase::stopping; // nobody's, or not yet
        auto it = sandboxes_.find(wanted);
        auto pooled = members_.find(wanted);
        if (got && it != sandboxes_.end())
          spawn(it->second, got->first, got->second);
        else if (got && pooled != members_.end())
          free_member(pooled->second, got->first);
        else
          end_member(wanted);
      });
}

// -- what sandboxes say -----------------------------------------------------

void supervisor_state::changed(const sandbox_changed& what) {
  if (member_changed(what))
    return;
  auto it = sandboxes_.find(what.info.id);
  if (it == sandboxes_.end())
    return;
  spread(what);
  auto& item = it->second;
  if (item.counted != what.info.state) {
    unreserve(reserved_, item.info.spec, item.counted);
    reserve(reserved_, item.info.spec, what.info.state);
    item.counted = what.info.state;
    publish_capacity();
  }
  bool keep_cause = what.info.last_cause.text.empty();
  auto before = item.info.last_cause;
  item.info = what.info;
  if (keep_cause)
    item.info.last_cause = before;
  item.ready = what.ready;
  if (what.made)
    leave_line(what.info.id);
  auto waiting = waiters_.find(what.info.id);
  if (waiting != waiters_.end()) {
    bool over = true;
    if (what.ready) {
      for (const auto& who : waiting->second)
        context->clients->send({who.route, who.id, api::up_reply{item.info}});
    } else if (what.gone || what.info.state == phase::failed
               || (what.error && what.info.state == phase::stopping)) {
      // The last: what is left of it could not be freed yet (disk full).
      auto why = what.error.value_or(
          failure{ec::wrong_state,
                  what.info.id + " was destroyed while it was being made",
                  {}});
      refuse_waiters(std::move(waiting->second), std::move(why), what.info.id,
                     item.info.owner, item.request_id);
    } else {
      over = false;
      if (!what.step.empty())
        for (const auto& who : waiting->second)
          context->clients->send(
              {who.route, who.id, api::up_progress{what.step}});
    }
    if (over)
      waiters_.erase(what.info.id);
  }
  if (what.gone) {
    destroyed_[what.info.id] = item.info;
    keep_history({what.info.id, item.info.owner, item.request_id});
    forget(what.info.id);
    expire_history();
  }
}

/// What has been over for long leaves the journal: at the start, and then now
/// and again when something ends.
void supervisor_state::expire_history() {
  const auto now = self->home_system().clock().now();
  if (!next_expiry_)
    next_expiry_ = now + expiry_interval;
  if (now < *next_expiry_)
    return;
  next_expiry_ = now + expiry_interval;
  offload(
      self, context->records,
      [journal = context->journal] {
        return journal->expire(wall_clock_ms() - history_kept_ms);
      },
      [this](const result<void>& done) {
        if (!done) // the next one tries again
          context->metrics->error(done.error().code);
      });
}

/// What is older stays in the journal until it expires, for who looks there;
/// the daemon must not grow with every sandbox it ever had.
void supervisor_state::keep_history(past what) {
  history_.push_back(std::move(what));
  while (history_.size() > limits::history_most) {
    const auto& oldest = history_.front();
    destroyed_.erase(oldest.id);
    auto asked = requests_.find({oldest.owner, oldest.request_id});
    if (asked != requests_.end() && asked->second.first == oldest.id)
      requests_.erase(asked);
    history_.pop_front();
  }
}

void supervisor_state::forget(const std::string& id) {
  auto it = sandboxes_.find(id);
  if (it == sandboxes_.end())
    return;
  auto& item = it->second;
  unreserve(reserved_, item.info.spec, item.counted);
  slots_.erase(item.slot);
  auto named = names_.find({item.info.owner, item.info.spec.name});
  if (named != names_.end() && named->second == id)
    names_.erase(named);
  waiters_.erase(id);
  auto gone = sandboxes_.extract(it); // `id` may be a part of it
  publish_capacity();
  leave_line(gone.key());
}

void supervisor_state::publish_capacity() {
  context->metrics->capacity(context->total.cpus, reserved_.cpus,
                             context->total.memory_mb, reserved_.memory_mb,
                             context->total.disk_gb, reserved_.disk_gb);
}

// -- questions ----------------------------------------------------------------

/// A destroyed sandbox by its id or, the last one, by its whole name.
const sandbox_info*
supervisor_state::find_destroyed(const std::string& reference,
                                 const api::request& request) const {
  const sandbox_info* out = nullptr;
  for (const auto& [id, info] : destroyed_) {
    if (reference.empty() || !may_touch(request, info.owner))
      continue;
    if (id == reference)
      return &info;
    if (info.spec.name == reference
        && (!out || out->created_ms <= info.created_ms))
      out = &info;
  }
  return out;
}

caf::result<found_sandbox>
supervisor_state::lookup(const std::string& reference,
                         const request_ptr& request, bool destroyed_too) {
  std::vector<std::pair<std::string, std::string>> visible;
  bool exact = false;
  for (const auto& [id, item] : sandboxes_)
    if (may_touch(*request, item.info.owner)) {
      visible.emplace_back(id, item.info.spec.name);
      exact = exact || id == reference || item.info.spec.name == reference;
    }
  const auto* gone = exact ? nullptr : find_destroyed(reference, *request);
  // By name for two verbs only, and then before any prefix: who asks once more
  // to destroy "web", because the answer was lost, must not hit "web-2". For
  // the others a name is free again.
  if (gone && gone->id != reference
      && !std::holds_alternative<api::destroy>(request->body)
      && !std::holds_alternative<api::why>(request->body))
    gone = nullptr;
  if (gone && destroyed_too)
    return found_sandbox{gone->id, gone->owner, *gone, {}};
  auto id = resolve_reference(reference, visible);
  // The node that passed it on says which one is meant.
  if (request->hop != 0 && !exact)
    id = fail(ec::not_found, "no sandbox " + caged::quoted(reference),
              "caged list shows them");
  if (!id && gone && id.error().code == ec::not_found)
    return make_error(ec::not_found, reference + " is destroyed",
                      "caged why " + reference + " shows its history");
  if (!id)
    return make_error(id.error());
  const auto& item = sandboxes_.at(*id);
  return found_sandbox{*id, item.info.owner, item.info, item.handle};
}

api::list_reply supervisor_state::list(const request_ptr& request) const {
  const auto& what = std::get<api::list>(request->body);
  api::list_reply out;
  auto add = [&](const sandbox_info& info) {
    if (!may_touch(*request, info.owner)
        || (!what.all_owners && !request->admin
            && info.owner != request->caller))
      return;
    for (const auto& [key, value] : what.labels) {
      auto has = info.spec.labels.find(key);
      if (has == info.spec.labels.end() || has->second != value)
        return;
    }
    out.sandboxes.push_back(info);
    out.sandboxes.back().spec.env.clear();
    out.sandboxes.back().spec.init_script.clear();
  };
  for (const auto& [_, item] : sandboxes_)
    add(item.info);
  if (what.destroyed)
    for (const auto& [_, info] : destroyed_)
      add(info);
  std::stable_sort(
      out.sandboxes.begin(), out.sandboxes.end(),
      [](const auto& a, const auto& b) { return a.created_ms < b.created_ms; });
  return out;
}

api::node_status_reply supervisor_state::status() const {
  api::node_status_reply out;
  out.node = context->node;
  out.version = context->version;
  out.started_ms = started_ms_;
  auto abilities = context->driver->capabilities();
  out.runtime = abilities.name + " (" + abilities.version + ")";
  out.cgroups = context->cgroups;
  out.store = context->store->kind();
  if (auto why = context->store_away ? context->store_away() : std::nullopt)
    out.store += ", away: " + why->message;
  out.cpus_total = context->total.cpus;
  out.cpus_reserved = reserved_.cpus;
  out.memory_mb_total = context->total.memory_mb;
  out.memory_mb_reserved = reserved_.memory_mb;
  out.disk_gb_total = context->total.disk_gb;
  out.disk_gb_reserved = reserved_.disk_gb;
  out.pools = pool_status();
  out.listen = context->listen;
  out.public_key = context->public_key;
  for (const auto& [_, item] : sandboxes_)
    ++out.by_state[std::string{to_string(item.info.state)}];
  return out;
}

bool supervisor_state::is_live(const std::string& id) const {
  if (auto it = sandboxes_.find(id); it != sandboxes_.end())
    return it->second.info.state == phase::running
           || it->second.info.state == phase::unhealthy
           || it->second.info.state == phase::paused;
  auto it = members_.find(id);
  return it != members_.end() && it->second.ready;
}

caf::result<api::audit_reply> supervisor_state::audit_node(bool fix) {
  auto answer = self->make_response_promise<api::audit_reply>();
  std::vector<std::string> live;
  std::set<std::string> ours;
  for (const auto& [id, _] : sandboxes_)
    ours.insert(id);
  for (const auto& [id, _] : members_)
    ours.insert(id);
  std::copy_if(ours.begin(), ours.end(), std::back_inserter(live),
               [this](const auto& id) { return is_live(id); });
  offload(
      self, context->driver_workers,
      [journal = context->journal, driver = context->driver, live, ours,
       fix]() -> result<api::audit_reply> {
        auto look = [&]() -> result<api::audit_reply> {
          // A thing is leased before it is made, and until it is gone: read on
          // both sides of the kernel, the leases have the owner of whatever
          // comes or goes meanwhile.
          auto earlier = journal->leases();
          if (!earlier)
            return tl::unexpected<failure>(earlier.error());
          auto found = driver->inventory();
          if (!found)
            return tl::unexpected<failure>(found.error());
          auto leases = journal->leases();
          if (!leases)
            return tl::unexpected<failure>(leases.error());
          const std::set<std::pair<std::string, lease>> now{leases->begin(),
                                                            leases->end()};
          std::copy_if(earlier->begin(), earlier->end(),
                       std::back_inserter(*leases),
                       [&](const auto& each) { return now.count(each) == 0; });
          return api::audit_reply{audit(*leases, *found, live)};
        };
        auto before = look();
        if (!before || !fix)
          return before;
        std::set<std::string> freed;
        for (const auto& row : before->rows)
          if (row.verdict == "orphan" && is_valid_id(row.sandbox)
              && ours.count(row.sandbox) == 0
              && freed.insert(row.sandbox).second)
            if (auto done = driver->destroy(row.sandbox, false); !done)
              return fail(done.error().code,
                          "what is left of " + row.sandbox
                              + " could not be freed: " + done.error().message,
                          done.error().hint);
        auto after = look();
        if (!after)
          return after;
        for (auto& row : before->rows)
          if (row.verdict == "orphan"
              && std::none_of(
                  after->rows.begin(), after->rows.end(), [&](const auto& now) {
                    return now.kind == row.kind && now.name == row.name;
                  })) {
            row.verdict = "freed";
            after->rows.push_back(row);
          }
        return after;
      },
      [this, answer](result<api::audit_reply> got) mutable {
        if (!got) {
          answer.deliver(make_error(got.error()));
          return;
        }
        // Which may have ended while the kernel was read.
        got->rows.erase(std::remove_if(got->rows.begin(), got->rows.end(),
                                       [this](const auto& row) {
                                         return row.verdict == "missing"
                                                && !is_live(row.sandbox);
                                       }),
                        got->rows.end());
        auto orphans = std::count_if(
            got->rows.begin(), got->rows.end(),
            [](const auto& row) { return row.verdict == "orphan"; });
        context->metrics->orphans(static_cast<std::size_t>(orphans));
        answer.deliver(std::move(*got));
      });
  return answer;
}

void supervisor_state::revoke(const std::string& key) {
  for (const auto& [_, item] : sandboxes_)
    if (item.handle)
      self->send(item.handle, atom::revoke::value, key);
}

// -- ends
// ----------------------------------------------------------------------

caf::result<api::shutdown_reply>
supervisor_state::shut_down(const stop_request& what) {
  auto answer = self->make_response_promise<api::shutdown_reply>();
  stopping_ = true;
  std::vector<std::string> pool;
  if (what.destroy_all)
    for (auto& [id, item] : members_) {
      item.over = true;
      if (item.handle)
        pool.push_back(id);
    }
  auto left = std::make_shared<std::size_t>(sandboxes_.size() + pool.size());
  auto count = std::make_shared<api::shutdown_reply>();
  auto first = std::make_shared<std::optional<caf::error>>();
  if (!what.destroy_all || *left == 0) {
    answer.deliver(*count);
    return answer;
  }
  auto done = [this, left, count, first, answer]() mutable {
    if (--*left > 0)
      return;
    if (*first) {
      stopping_ = false; // somebody has to look at what could not be freed
      answer.deliver(**first);
      return;
    }
    answer.deliver(*count);
  };
  auto destroy = [this, count, first, done, who = what.who](
                     const std::string& id, const sandbox_actor& handle,
                     std::uint32_t counts = 1) {
    auto gone = [count, done, counts]() mutable {
      count->destroyed += counts;
      done();
    };
    self->request(handle, std::chrono::minutes(2), atom::destroy::value, who)
        .then([gone](bool) mutable { gone(); },
              [this, id, gone, first, done](caf::error& why) mutable {
                if (handle_of(id) == nullptr)
                  return gone(); // by another's wish, before it read this one
                if (!*first)
                  *first = std::move(why);
                done();
              });
  };
  for (const auto& id : pool)
    destroy(id, members_[id].handle, 0);
  for (auto& [id, item] : sandboxes_) {
    if (item.handle)
      destroy(id, item.handle);
    else // its first commit is under way
      item.when_created = [destroy, done,
                           id = id](const sandbox_actor* handle) mutable {
        if (handle)
          destroy(id, *handle);
        else
          done();
      };
  }
  return answer;
}

const sandbox_actor* supervisor_state::handle_of(const std::string& id) const {
  if (auto it = sandboxes_.find(id); it != sandboxes_.end())
    return it->second.handle ? &it->second.handle : nullptr;
  auto it = members_.find(id);
  return it != members_.end() && it->second.handle ? &it->second.handle
                                                   : nullptr;
}

void supervisor_state::forward_exit(const exit_report& report) {
  if (const auto* handle = handle_of(report.id))
    self->send(*handle, report);
}

void supervisor_state::forward_oom(const std::string& id, std::uint64_t kills) {
  if (const auto* handle = handle_of(id))
    self->send(*handle, atom::oom::value, kills);
}

void supervisor_state::stop_all() {
  stopping_ = true;
  for (auto& [_, item] : sandboxes_)
    if (item.handle)
      self->send(item.handle, atom::stop::value);
  for (auto& [_, item] : members_)
    if (item.handle)
      self->send(item.handle, atom::stop::value);
  self->quit();
}

supervisor_actor::behavior_type supervisor(supervisor_state::pointer self,
                                           context_ptr context,
                                           node_memory memory) {
  self->state.context = std::move(context);
  self->state.memory = std::move(memory);
  self->set_down_handler([self](caf::down_msg& down) {
    if (down.reason)
      self->state.child_down(down.source);
  });
  return {
      [self](const sandbox_changed& what) { self->state.changed(what); },
      [self](atom::start) { self->state.start(); },
      [self](atom::run, const request_ptr& request) {
        self->state.up(request);
      },
      [self](atom::lookup, const std::string& reference,
             const request_ptr& request, bool destroyed_too) {
        return self->state.lookup(reference, request, destroyed_too);
      },
      [self](atom::list, const request_ptr& request) {
        return self->state.list(request);
      },
      [self](atom::status) { return self->state.status(); },
      [self](atom::audit, bool fix) { return self->state.audit_node(fix); },
      [self](atom::changed, const request_ptr& request) {
        self->state.follow(request);
      },
      [self](atom::gone, const std::string& route) {
        self->state.unfollow(route);
      },
      [self](atom::revoke, const std::string& key) { self->state.revoke(key); },
      [self](atom::recheck) { self->state.recheck(); },
      [self](atom::pool) { self->state.pool_due(); },
      [self](const stop_request& what) { return self->state.shut_down(what); },
      [self](const exit_report& report) { self->state.forward_exit(report); },
      [self](atom::oom, const std::string& id, std::uint64_t kills) {
        self->state.forward_oom(id, kills);
      },
      [self](atom::stop) { self->state.stop_all(); },
  };
}

} // namespace caged
