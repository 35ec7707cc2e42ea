#include "actors/supervisor.hpp"

#include <algorithm>

#include "actors/booking.hpp"
#include "actors/placements.hpp"
#include "actors/scheduler.hpp"
#include "actors/store_away.hpp"
#include "messages/text.hpp"

// `up`: what is refused, what is booked and written, and who starts when.
namespace caged {

namespace {

/// Its first `up` was answered, and it has not ended since.
bool was_ready(const sandbox_info& info) {
  return (info.state == phase::paused || info.state == phase::unhealthy)
         && info.init_state != 0;
}

} // namespace

void supervisor_state::refuse(const api::request& request, failure why,
                              const std::string& sandbox) {
  context->metrics->error(why.code);
  context->clients->send(
      {request.route, request.id,
       api::error_reply{std::move(why), sandbox, context->node}});
}

/// Those who wait for a sandbox that will not be. What their request made on
/// another node may be destroyed: then they are answered as that node does it.
void supervisor_state::refuse_waiters(std::vector<waiter> whom, failure why,
                                      const std::string& sandbox,
                                      const std::string& owner,
                                      const std::string& request_id) {
  const auto code = why.code;
  auto tell = [this, whom = std::move(whom)](const api::error_reply& error) {
    for (const auto& who : whom) {
      context->metrics->error(error.why.code);
      context->clients->send({who.route, who.id, error});
    }
  };
  api::error_reply error{std::move(why), sandbox, context->node};
  if (!context->peers
      || (code != ec::wrong_state && code != ec::conflict)) // by book
    return tell(error);
  offload(
      self, context->store_calls,
      [store = context->store, owner, request_id] {
        return find_gone_request(*store, owner, request_id);
      },
      [tell, error](const result<std::optional<gone_request>>& got) mutable {
        if (got && *got) {
          error.sandbox = (*got)->sandbox;
          error.node = (*got)->node_name;
        }
        tell(error);
      });
}

std::string supervisor_state::fresh_id() const {
  for (;;) {
    auto id = "cage-" + random_name(8);
    if (sandboxes_.count(id) == 0 && destroyed_.count(id) == 0
        && members_.count(id) == 0)
      return id;
  }
}

std::uint32_t supervisor_state::free_slot() const {
  std::uint32_t slot = 0;
  for (auto used : slots_) {
    if (used != slot)
      break;
    ++slot;
  }
  return slot;
}

/// A repeat of an earlier `up` gets the first answer, or waits for it.
bool supervisor_state::answered_before(const api::request& request,
                                       const api::up&) {
  auto it = requests_.find({request.caller, request.id});
  if (it == requests_.end())
    return false;
  auto [id, digest] = it->second;
  if (digest != request.digest) {
    refuse(request,
           {ec::conflict,
            "request id " + request.id + " was used before with another body",
            "make a new request id"},
           id);
    return true;
  }
  auto known = sandboxes_.find(id);
  if (known == sandboxes_.end()) {
    auto gone = destroyed_.find(id);
    refuse(
        request,
        repeat_of_gone(request.id, digest,
                       {id,
                        {},
                        {},
                        digest,
                        gone == destroyed_.end() ? std::string{}
                                                 : gone->second.last_cause.text,
                        0}),
        id);
  } else if (known->second.ready || was_ready(known->second.info)) {
    context->clients->send(
        {request.route, request.id, api::up_reply{known->second.info}});
  } else if (known->second.info.state == phase::stopping) {
    refuse(request, {ec::wrong_state, id + " is being destroyed", {}}, id);
  } else if (known->second.info.state == phase::failed) {
    refuse(request,
           {ec::agent_lost,
            id + " has failed: " + known->second.info.last_cause.text,
            "caged why " + id + " shows its history"},
           id);
  } else {
    waiters_[id].push_back({request.route, request.id});
  }
  return true;
}

/// This node, as a wish is judged by.
node_view supervisor_state::here() const {
  node_view out;
  if (auto known = context->fleet->node(context->node_id))
    out = std::move(*known);
  const auto abilities = context->driver->capabilities();
  out.node.id = context->node_id;
  out.node.name = context->node;
  out.node.runtime = abilities.name;
  out.node.networks.clear();
  for (const auto mode : abilities.networks)
    out.node.networks.emplace_back(to_string(mode));
  out.node.total = context->total;
  out.reserved.what.used = reserved_;
  out.unreadable = false;
  out.live = true;
  return out;
}

void supervisor_state::up(const request_ptr& request) {
  const auto& what = std::get<api::up>(request->body);
  if (answered_before(*request, what))
    return;
  if (stopping_)
    return refuse(*request, {ec::shutting_down, "the node is shutting down",
                             "try again on another node or later"});
  if (auto valid = validate(what.spec); !valid)
    return refuse(*request, valid.error());
  if (auto why = no_booking(*context))
    return refuse(*request, std::move(*why));
  auto abilities = context->driver->capabilities();
  if (what.spec.runtime != abilities.name)
    return refuse(*request,
                  {ec::unsupported,
                   "this node runs the \"" + abilities.name + "\" runtime, not "
                       + caged::quoted(what.spec.runtime),
                   "leave --runtime out"});
  if (std::find(abilities.networks.begin(), abilities.networks.end(),
                what.spec.network)
      == abilities.networks.end())
    return refuse(*request,
                  {ec::unsupported,
                   "network mode \"" + std::string{to_string(what.spec.network)}
                       + "\" is not offered by this node yet; it has none",
                   "use --network none"});
  if (auto used = names_.find({request->caller, what.spec.name});
      !what.spec.name.empty() && used != names_.end())
    return refuse(
        *request,
        {ec::conflict,
         "the name \"" + what.spec.name + "\" is in use by " + used->second,
         "choose another name, or destroy it: caged destroy " + what.spec.name},
        used->second);
  if (auto good = placeable(here(), {what.spec, what.node, what.require});
      !good) {
    // Nobody passed it on: the nodes have no ports for each other.
    if (good.error().code == ec::not_found && context->fleet->node(what.node))
      return refuse(*request,
                    {ec::unsupported,
                     "node " + caged::quoted(what.node)
                         + " is another node, and this one has no way to it",
                     "ask that node itself, or give both a port: --listen"});
    return refuse(*request, good.error());
  }
  if (auto room = fits(context->total, reserved_, what.spec); !room)
    return refuse(*request, room.error());

  sandbox_record fresh;
  auto pooled = take_member(what.spec);
  fresh.id = pooled ? pooled->id : fresh_id();
  fresh.owner = request->caller;
  fresh.request_id = request->id;
  fresh.digest = request->digest;
  fresh.spec = what.spec;
  fresh.created_ms = fresh.changed_ms = wall_clock_ms();
  fresh.slot = pooled ? pooled->what.slot : free_slot();
  fresh.boot_id = context->boot_id;
  fresh.born_boot_ms = context->boot_ms();
  cause why{fresh.created_ms, phase::pending, phase::pending, request->caller,
            "up was asked for"};

  entry item;
  item.info.id = fresh.id;
  item.info.owner = fresh.owner;
  item.info.node = context->node;
  item.info.spec = fresh.spec;
  item.info.created_ms = fresh.created_ms;
  item.info.last_cause = why;
  item.request_id = fresh.request_id;
  item.digest = fresh.digest;
  item.slot = fresh.slot;
  slots_.insert(fresh.slot);
  reserve(reserved_, fresh.spec, phase::pending);
  if (!fresh.spec.name.empty())
    names_[{fresh.owner, fresh.spec.name}] = fresh.id;
  requests_[{fresh.owner, fresh.request_id}] = {fresh.id, fresh.digest};
  waiters_[fresh.id].push_back({request->route, request->id});
  if (pooled)
    item.handle = pooled->what.handle;
  sandboxes_.emplace(fresh.id, std::move(item));
  publish_capacity();
  if (pooled) {
    self->send(pooled->what.handle, atom::assign::value, std::move(fresh));
    return;
  }

  offload(
      self, context->store_calls,
      [store = context->store, journal = context->journal,
       driver = context->driver, node = context->node_id,
       total = context->total, fresh, why]() -> result<void> {
        if (auto placed = place(*store, fresh, node, total); !placed)
          return placed;
        auto written = journal->create(
            fresh, driver->leases({fresh.id, fresh.spec, fresh.slot}), why);
        if (!written) {
          if (auto undone = unplace(*store, fresh, node); !undone)
            return fail(written.error().code,
                        written.error().message + "; and its placement stays: "
                            + undone.error().message,
                        written.error().hint);
        }
        return written;
      },
      [this, fresh, request](const result<void>& written) {
        created(fresh, request, written);
      });
}

void supervisor_state::created(const sandbox_record& record,
                               const request_ptr& request,
                               const result<void>& written) {
  auto it = sandboxes_.find(record.id);
  if (it == sandboxes_.end())
    return;
  if (!written) {
    refuse_waiters(std::move(waiters_[record.id]), written.error(), {},
                   record.owner, record.request_id);
    requests_.erase({request->caller, request->id});
    if (written.error().code == ec::unavailable) {
      doubtful_.push_back(record);
      recheck_later();
    }
    auto then = std::move(it->second.when_created);
    forget(record.id);
    if (then)
      then(nullptr);
    return;
  }
  for (const auto& who : waiters_[record.id])
    context->clients->send({who.route, who.id, api::up_progress{"reserved"}});
  sandbox_changed news;
  news.info = it->second.info;
  news.news = {it->second.info.last_cause};
  spread(news);
  spawn(it->second, record, {});
  if (starting_.size() >= context->max_starts)
    tell_place(record.id, line_.size());
  admit();
  if (it->second.when_created)
    it->second.when_created(&it->second.handle);
}

// -- admission ----------------------------------------------------------------

void supervisor_state::begin(const std::string& id, entry& item) {
  starting_.insert(id);
  self->send(item.handle, atom::start::value);
}

/// Starts as many of those in line as may start, and tells the rest where they
/// stand.
void supervisor_state::admit() {
  bool moved = false;
  while (!line_.empty() && starting_.size() < context->max_starts) {
    auto id = line_.front();
    line_.pop_front();
    moved = true;
    if (auto it = sandboxes_.find(id); it != sandboxes_.end())
      begin(id, it->second);
  }
  if (!moved)
    return;
  for (std::size_t i = 0; i < line_.size(); ++i)
    tell_place(line_[i], i + 1);
}

void supervisor_state::tell_place(const std::string& id, std::size_t place) {
  auto waiting = waiters_.find(id);
  if (waiting == waiters_.end())
    return;
  for (const auto& who : waiting->second)
    context->clients->send(
        {who.route, who.id,
         api::up_progress{"in line: " + std::to_string(place) + " of "
                          + std::to_string(line_.size())}});
}

void supervisor_state::leave_line(const std::string& id) {
  starting_.erase(id);
  std::erase(line_, id);
  admit();
}

} // namespace caged
