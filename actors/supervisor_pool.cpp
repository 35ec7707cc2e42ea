#include "actors/supervisor.hpp"

#include <algorithm>

#include <caf/send.hpp>

#include "messages/text.hpp"

// The pool: sandboxes that were booted and frozen before anybody asked
// (docs/adr/0004). They hold a slot and their leases, never capacity.
namespace caged {

using namespace std::chrono_literals;

namespace {

/// Who just got a member has the machine for so long before the next is made;
/// those that follow in that time, too, until half of the pool is gone.
constexpr auto refill_delay = 100ms;
/// Starts that clients wait for go first; a busy host is left alone.
constexpr auto busy_retry = 200ms;
/// After a member that could not be made.
constexpr auto failure_pause = 10s;

/// Whether one made for `made` can become `wanted`. The rest of the spec is set
/// when it is handed out.
bool suits(const sandbox_spec& made, const sandbox_spec& wanted) {
  return made.template_name == wanted.template_name
         && made.runtime == wanted.runtime && made.network == wanted.network
         && made.disk_gb == wanted.disk_gb && made.workdir == wanted.workdir;
}

} // namespace

void supervisor_state::look_at_pool(std::chrono::milliseconds in) {
  if (pool_timer_)
    return;
  pool_timer_ = true;
  self->delayed_send(self, in, atom::pool::value);
}

void supervisor_state::pool_due() {
  pool_timer_ = false;
  fill_pool();
}

unsigned supervisor_state::ready_members(const pool_setting& of) const {
  auto n = std::count_if(members_.begin(), members_.end(), [&](const auto& m) {
    return m.second.ready && !m.second.over
           && m.second.spec.template_name == of.template_name;
  });
  return static_cast<unsigned>(n);
}

std::vector<api::pool_status> supervisor_state::pool_status() const {
  std::vector<api::pool_status> out;
  for (const auto& setting : context->pools)
    out.push_back(
        {setting.template_name, setting.size, ready_members(setting)});
  return out;
}

void supervisor_state::publish_pool() const {
  for (const auto& row : pool_status()) {
    context->metrics->pool(row.template_name, row.size, row.ready);
    if (context->pool_ready)
      context->pool_ready->set(row.template_name, row.ready);
  }
}

/// Makes the next member when one is missing: one at a time, behind every start
/// that somebody waits for, and not on a busy host.
void supervisor_state::fill_pool() {
  publish_pool();
  if (stopping_)
    return;
  const pool_setting* wanted = nullptr;
  for (const auto& setting : context->pools) {
    auto have =
        std::count_if(members_.begin(), members_.end(), [&](const auto& item) {
          return !item.second.over
                 && item.second.spec.template_name == setting.template_name;
        });
    if (wanted == nullptr && static_cast<unsigned>(have) < setting.size)
      wanted = &setting;
  }
  bool making =
      std::any_of(members_.begin(), members_.end(), [](const auto& item) {
        return !item.second.over && !item.second.ready;
      });
  if (wanted == nullptr || making)
    return;
  auto now = self->home_system().clock().now();
  if (now < pool_pause_)
    return look_at_pool(
        std::chrono::ceil<std::chrono::milliseconds>(pool_pause_ - now));
  if (auto quiet = taken_at_ + refill_delay;
      now < quiet && ready_members(*wanted) * 2 >= wanted->size)
    return look_at_pool(
        std::chrono::ceil<std::chrono::milliseconds>(quiet - now));
  if (!starting_.empty() || !line_.empty())
    return look_at_pool(busy_retry);
  if (context->pool_load < 100 && context->host_busy
      && context->host_busy() > context->pool_load)
    return look_at_pool(busy_retry);
  sandbox_spec spec;
  spec.template_name = wanted->template_name;
  spec.runtime = context->driver->capabilities().name;
  make_member(spec);
}

void supervisor_state::make_member(const sandbox_spec& spec) {
  sandbox_record fresh;
  fresh.id = fresh_id();
  fresh.spec = spec;
  fresh.created_ms = fresh.changed_ms = wall_clock_ms();
  fresh.slot = free_slot();
  fresh.boot_id = context->boot_id;
  fresh.born_boot_ms = context->boot_ms();
  cause why{fresh.created_ms, phase::pending, phase::pending, "pool",
            "made ahead, for the pool"};
  member item;
  item.spec = spec;
  item.slot = fresh.slot;
  slots_.insert(fresh.slot);
  members_.emplace(fresh.id, std::move(item));
  offload(
      self, context->records,
      [journal = context->journal, driver = context->driver, fresh, why] {
        return journal->create(
            fresh, driver->leases({fresh.id, fresh.spec, fresh.slot}), why);
      },
      [this, fresh](const result<void>& written) {
        auto it = members_.find(fresh.id);
        if (it == members_.end())
          return;
        if (!written) {
          context->metrics->error(written.error().code);
          end_member(fresh.id);
          return;
        }
        it->second.handle = self->spawn(
            caged::sandbox, context, caf::actor_cast<sandbox_owner_actor>(self),
            fresh, std::vector<exec_record>{});
        self->monitor(it->second.handle);
        if (it->second.over) // the node is being cleared
          caf::anon_send(it->second.handle, atom::destroy::value,
                         std::string{"pool"});
        else
          self->send(it->second.handle, atom::start::value);
      });
}

/// The record is `stopping`: its actor frees it.
void supervisor_state::free_member(member& what, const sandbox_record& record) {
  what.handle = self->spawn(caged::sandbox, context,
                            caf::actor_cast<sandbox_owner_actor>(self), record,
                            std::vector<exec_record>{});
  self->monitor(what.handle);
  self->send(what.handle, atom::start::value);
}

/// It is gone, whatever became of it.
void supervisor_state::end_member(const std::string& id) {
  auto it = members_.find(id);
  if (it == members_.end())
    return;
  if (!it->second.over)
    pool_pause_ = self->home_system().clock().now() + failure_pause;
  slots_.erase(it->second.slot);
  members_.erase(it);
  expire_history();
  fill_pool();
}

bool supervisor_state::member_changed(const sandbox_changed& what) {
  auto it = members_.find(what.info.id);
  if (it == members_.end())
    return false;
  auto& item = it->second;
  if (what.gone) {
    if (!item.over)
      context->metrics->error(what.error ? what.error->code : ec::agent_lost);
    end_member(what.info.id);
    return true;
  }
  item.ready = what.parked && !item.over;
  if (what.info.state == phase::failed && !item.over) {
    context->metrics->error(what.error ? what.error->code : ec::agent_lost);
    pool_pause_ = self->home_system().clock().now() + failure_pause;
    item.over = true;
    caf::anon_send(item.handle, atom::destroy::value, std::string{"pool"});
  }
  fill_pool();
  return true;
}

/// A member that suits is taken out: it becomes this sandbox.
std::optional<supervisor_state::taken>
supervisor_state::take_member(const sandbox_spec& wanted) {
  auto has_pool = std::any_of(
      context->pools.begin(), context->pools.end(), [&](const auto& setting) {
        return setting.size > 0
               && setting.template_name == wanted.template_name;
      });
  if (!has_pool)
    return std::nullopt;
  auto it = std::find_if(members_.begin(), members_.end(), [&](const auto& m) {
    return m.second.ready && !m.second.over && suits(m.second.spec, wanted);
  });
  context->metrics->pool_asked(wanted.template_name, it != members_.end());
  if (it == members_.end())
    return std::nullopt;
  taken out{it->first, std::move(it->second)};
  members_.erase(it);
  publish_pool();
  taken_at_ = self->home_system().clock().now();
  look_at_pool(refill_delay);
  return out;
}

} // namespace caged
