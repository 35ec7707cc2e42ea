#include "actors/lifecycle.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "messages/text.hpp"

namespace caged {

bool may_change(phase from, phase to) noexcept {
  if (from == to)
    return true;
  switch (from) {
  case phase::pending:
    return to == phase::running || to == phase::failed || to == phase::stopping;
  case phase::running:
    return to == phase::unhealthy || to == phase::paused || to == phase::failed
           || to == phase::stopping || to == phase::lost;
  case phase::unhealthy:
    return to == phase::running || to == phase::failed || to == phase::stopping
           || to == phase::lost;
  case phase::paused:
    return to == phase::running || to == phase::failed || to == phase::stopping
           || to == phase::lost;
  case phase::stopping:
    return to == phase::destroyed;
  case phase::failed:
    return to == phase::stopping;
  case phase::lost:
    return to != phase::pending && to != phase::destroyed;
  case phase::destroyed:
    return false;
  }
  return false;
}

bool has_processes(phase state) noexcept {
  return state != phase::failed && state != phase::destroyed;
}

bool holds_capacity(phase state) noexcept {
  return has_processes(state);
}

result<void> allows_exec(const std::string& id, phase state,
                         const cause& last) {
  switch (state) {
  case phase::running:
    return {};
  case phase::pending:
    return fail(ec::wrong_state, id + " is still being made",
                "wait until it is running: caged get " + id);
  case phase::unhealthy:
    return fail(ec::wrong_state, id + " is unhealthy: " + last.text,
                "caged why " + id + " shows its history");
  case phase::paused:
    return fail(ec::wrong_state, id + " is paused: " + last.text,
                "caged resume " + id + ", or give --resume");
  case phase::failed:
    return fail(ec::wrong_state, id + " has failed: " + last.text,
                "its disk layer is kept until you destroy it; caged why " + id
                    + " shows its history");
  case phase::stopping:
  case phase::destroyed:
    return fail(ec::wrong_state, id + " is being destroyed");
  case phase::lost:
    return fail(ec::unavailable, "the node of " + id + " is silent");
  }
  return fail(ec::internal, id + " is in no known state");
}

result<void> fits(const capacity& total, const capacity& reserved,
                  const sandbox_spec& wanted) {
  std::string missing;
  auto check = [&](const char* what, std::uint64_t all, std::uint64_t used,
                   std::uint64_t asked) {
    auto free = all > used ? all - used : 0;
    if (asked <= free)
      return;
    if (!missing.empty())
      missing += ", ";
    missing += std::to_string(asked) + " " + what + " asked, "
               + std::to_string(free) + " of " + std::to_string(all) + " free";
  };
  check("cpus", total.cpus, reserved.cpus, wanted.cpus);
  check("MB of memory", total.memory_mb, reserved.memory_mb, wanted.memory_mb);
  check("GB of disk", total.disk_gb, reserved.disk_gb, wanted.disk_gb);
  if (missing.empty())
    return {};
  return fail(ec::no_capacity, "the node is full: " + missing,
              "destroy sandboxes that are not needed, ask for less, or raise "
              "the node's capacity");
}

void reserve(capacity& reserved, const sandbox_spec& spec, phase state) {
  if (holds_capacity(state)) {
    reserved.cpus += spec.cpus;
    reserved.memory_mb += spec.memory_mb;
  }
  if (state != phase::destroyed)
    reserved.disk_gb += spec.disk_gb;
}

void unreserve(capacity& reserved, const sandbox_spec& spec, phase state) {
  if (holds_capacity(state)) {
    reserved.cpus -= std::min(reserved.cpus, spec.cpus);
    reserved.memory_mb -= std::min(reserved.memory_mb, spec.memory_mb);
  }
  if (state != phase::destroyed)
    reserved.disk_gb -= std::min(reserved.disk_gb, spec.disk_gb);
}

std::vector<api::audit_row>
audit(const std::vector<std::pair<std::string, lease>>& leases,
      const std::vector<host_resource>& found,
      const std::vector<std::string>& live) {
  std::map<lease, std::string> leased;
  for (const auto& [id, what] : leases)
    leased.emplace(what, id);
  std::set<std::string> alive(live.begin(), live.end());
  std::set<lease> seen;
  std::vector<api::audit_row> rows;
  for (const auto& thing : found) {
    seen.insert(thing.what);
    auto owner = leased.find(thing.what);
    // A process is leased with its sandbox, not one by one.
    bool owned = owner != leased.end()
                 || (thing.what.kind == "process"
                     && std::any_of(leases.begin(), leases.end(),
                                    [&](const auto& entry) {
                                      return entry.first == thing.sandbox;
                                    }));
    rows.push_back({thing.what.kind, escape_text(thing.what.name),
                    owner != leased.end() ? owner->second : thing.sandbox,
                    owned ? "owned" : "orphan"});
  }
  for (const auto& [id, what] : leases)
    if (alive.count(id) != 0 && seen.count(what) == 0)
      rows.push_back({what.kind, escape_text(what.name), id, "missing"});
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.sandbox < b.sandbox;
  });
  return rows;
}

} // namespace caged
