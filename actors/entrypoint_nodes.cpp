#include "actors/entrypoint.hpp"

#include "actors/fleet_admin.hpp"
#include "actors/histories.hpp"
#include "actors/store_away.hpp"
#include "messages/text.hpp"

// Nodes of the fleet: listed, cordoned, forgotten.
namespace caged {

namespace {

api::node_info info_of(const node_view& from, std::uint32_t sandboxes,
                       const std::string& self) {
  const auto& node = from.node;
  const auto& used = from.reserved.what.used;
  api::node_info out;
  out.id = node.id;
  out.name = node.name;
  out.version = node.version;
  out.address = node.address;
  out.public_key = node.public_key;
  out.metrics = node.metrics;
  out.runtime = node.runtime;
  out.networks = node.networks;
  out.labels = node.labels;
  out.self = node.id == self;
  out.live = from.live || out.self; // it answers
  out.cordoned = from.cordoned;
  out.cordoned_by = from.cordoned_by;
  out.cpus_total = node.total.cpus;
  out.cpus_reserved = used.cpus;
  out.memory_mb_total = node.total.memory_mb;
  out.memory_mb_reserved = used.memory_mb;
  out.disk_gb_total = node.total.disk_gb;
  out.disk_gb_reserved = used.disk_gb;
  out.sandboxes = sandboxes;
  out.templates.assign(from.templates.begin(), from.templates.end());
  return out;
}

std::uint32_t placed_on(const directory& fleet, const std::string& node) {
  const auto all = fleet.placed();
  const auto at = all.find(node);
  return at == all.end() ? 0 : at->second;
}

} // namespace

void entrypoint_state::list_nodes(const api::request& request) {
  const auto placed = context->fleet->placed();
  api::node_list_reply out;
  for (const auto& each : context->fleet->nodes()) {
    const auto at = placed.find(each.node.id);
    out.nodes.push_back(
        info_of(each, at == placed.end() ? 0 : at->second, context->node_id));
  }
  out.notice = old_view(*context);
  answer(request, std::move(out));
}

void entrypoint_state::get_node(const api::request& request,
                                const api::node_get& what) {
  const auto found = context->fleet->node(what.node);
  if (!found)
    return refuse(request, found.error());
  answer(request,
         api::node_reply{info_of(*found,
                                 placed_on(*context->fleet, found->node.id),
                                 context->node_id),
                         false});
}

void entrypoint_state::cordon_node(const request_ptr& request,
                                   const api::node_cordon& what) {
  const auto found = context->fleet->node(what.node);
  if (!found)
    return refuse(*request, found.error());
  const auto id = found->node.id;
  offload(
      self, context->store_calls,
      [store = context->store, id, on = what.on, who = request->caller]()
          -> result<cordoned> { return set_cordon(*store, id, on, who); },
      [this, request, id, on = what.on](const result<cordoned>& done) {
        if (!done)
          return refuse(*request, done.error());
        // This node's own view need not wait for the store to tell it.
        context->fleet->apply(
            {node_key(id, "cordon"), done->by, done->revision}, !on);
        const auto now = context->fleet->node(id);
        if (!now)
          return refuse(*request, now.error());
        api::node_reply out{
            info_of(*now, placed_on(*context->fleet, id), context->node_id),
            done->changed};
        out.node.cordoned = on;
        out.node.cordoned_by = done->by;
        answer(*request, std::move(out));
      });
}

void entrypoint_state::remove_node(const request_ptr& request,
                                   const api::node_remove& what) {
  const auto found = context->fleet->node(what.node);
  if (!found)
    return refuse(*request, found.error());
  const auto& which = found->node;
  // It could not say that it is done.
  if (which.id == context->node_id)
    return refuse(*request, {ec::wrong_state,
                             "node " + caged::quoted(which.name)
                                 + " is alive: it is the one that you ask",
                             "ask another node, or stop this one first"});
  offload(
      self, context->store_calls,
      [store = context->store, id = which.id, name = which.name,
       force = what.force, who = request->caller]() -> result<forgotten> {
        auto done = forget_node(*store, id, name, force, who);
        // Where that fails, sweep_histories does it.
        if (done && done->sandboxes > 0)
          (void)mark_lost(*store, id,
                          {wall_clock_ms(), phase::lost, phase::lost, who,
                           "node " + name + " was removed from the fleet"});
        return done;
      },
      [this, request, id = which.id,
       name = which.name](const result<forgotten>& done) {
        if (!done)
          return refuse(*request, done.error());
        for (const auto& key : done->keys)
          context->fleet->apply({key, {}, done->revision}, true);
        answer(*request, api::node_remove_reply{id, name, done->sandboxes});
      });
}

} // namespace caged
