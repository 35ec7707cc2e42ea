#include "cli/views.hpp"

#include <iostream>

#include <nlohmann/json.hpp>

#include "caged_version.hpp"
#include "cli/structured.hpp"
#include "cli/table.hpp"
#include "messages/text.hpp"

namespace caged::cli {

using nlohmann::json;

namespace {

constexpr double mb = 1024.0 * 1024.0;

std::string number(double value) {
  auto text = std::to_string(value);
  return text.substr(0, text.find('.') + 2);
}

json to_json(const cause& from) {
  return {{"time_ms", from.time_ms},
          {"from", std::string{to_string(from.from)}},
          {"to", std::string{to_string(from.to)}},
          {"who", from.who},
          {"text", from.text}};
}

json to_json(const sandbox_info& from) {
  const auto& s = from.spec;
  return {{"id", from.id},
          {"name", s.name},
          {"owner", from.owner},
          {"node", from.node},
          {"state", std::string{to_string(from.state)}},
          {"template", s.template_name},
          {"runtime", s.runtime},
          {"cpus", s.cpus},
          {"memory_mb", s.memory_mb},
          {"disk_gb", s.disk_gb},
          {"pids", s.pids},
          {"network", std::string{to_string(s.network)}},
          {"labels", s.labels},
          {"workdir", s.workdir},
          {"idle_timeout_ms", s.idle_timeout.count()},
          {"ttl_ms", s.ttl.count()},
          {"created_ms", from.created_ms},
          {"agent_version", from.agent_version},
          {"last_heartbeat_ms", from.last_heartbeat_ms},
          {"init_state", from.init_state},
          {"last_cause", to_json(from.last_cause)}};
}

std::string lines(const std::vector<std::pair<std::string, std::string>>& all) {
  std::string out;
  constexpr std::size_t column = 12;
  for (const auto& [key, value] : all) {
    auto name = key;
    name.resize(std::max(column, key.size() + 1), ' ');
    out += name + (value.empty() ? "-" : escape_text(value)) + "\n";
  }
  return out;
}

std::string labels_text(const std::map<std::string, std::string>& labels) {
  std::string out;
  for (const auto& [key, value] : labels)
    out += (out.empty() ? "" : ",") + key + "=" + value;
  return out;
}

std::vector<std::pair<std::string, std::string>>
details(const sandbox_info& from) {
  static const char* const init[] = {"none", "running", "ended well",
                                     "ended badly: see caged logs"};
  const auto& s = from.spec;
  auto state = from.init_state >= -1 && from.init_state <= 2
                   ? init[from.init_state + 1]
                   : "unknown";
  return {{"id", from.id},
          {"name", s.name},
          {"state", std::string{to_string(from.state)}},
          {"cause", from.last_cause.text},
          {"owner", from.owner},
          {"node", from.node},
          {"template", s.template_name + " (" + s.runtime + ")"},
          {"limits", std::to_string(s.cpus) + " cpus, "
                         + std::to_string(s.memory_mb) + " MB memory, "
                         + std::to_string(s.disk_gb) + " GB disk, "
                         + std::to_string(s.pids) + " processes"},
          {"network", std::string{to_string(s.network)}},
          {"labels", labels_text(s.labels)},
          {"workdir", s.workdir},
          {"idle", s.idle_timeout.count() == 0
                       ? "never paused"
                       : "paused after " + format_duration(s.idle_timeout)},
          {"ends", s.ttl.count() == 0
                       ? "when it is destroyed"
                       : date_time(from.created_ms + s.ttl.count()) + " UTC"},
          {"created", date_time(from.created_ms) + " UTC"},
          {"agent", from.agent_version},
          {"init", state}};
}

} // namespace

std::string show(const std::vector<sandbox_info>& sandboxes, format as) {
  if (as != format::table) {
    json out = json::array();
    for (const auto& sandbox : sandboxes)
      out.push_back(to_json(sandbox));
    return dump(out, as);
  }
  table out{{"ID", "NAME", "STATE", "TEMPLATE", "CPUS", "MEMORY", "DISK",
             "OWNER", "NODE", "AGE"}};
  auto now = wall_clock_ms();
  for (const auto& s : sandboxes)
    out.add({s.id, s.spec.name, std::string{to_string(s.state)},
             s.spec.template_name, std::to_string(s.spec.cpus),
             std::to_string(s.spec.memory_mb) + " MB",
             std::to_string(s.spec.disk_gb) + " GB", s.owner, s.node,
             age(s.created_ms, now)});
  return out.str(stdout_has_colour());
}

std::string show(const sandbox_info& sandbox, format as) {
  return as != format::table ? dump(to_json(sandbox), as)
                             : lines(details(sandbox));
}

std::string show(const api::get_reply& reply, format as) {
  if (as != format::table) {
    auto out = to_json(reply.sandbox);
    out["execs"] = reply.execs;
    if (const auto& s = reply.stats)
      out["host"] = {{"cpu_seconds", s->cpu_seconds},
                     {"cpu_throttled_seconds", s->cpu_throttled_seconds},
                     {"memory_bytes", s->memory_bytes},
                     {"memory_limit_bytes", s->memory_limit_bytes},
                     {"memory_peak_bytes", s->memory_peak_bytes},
                     {"oom_kills", s->oom_kills},
                     {"pids", s->pids},
                     {"pids_limit", s->pids_limit},
                     {"pids_refused", s->pids_refused},
                     {"disk_bytes", s->disk_bytes},
                     {"disk_limit_bytes", s->disk_limit_bytes}};
    if (const auto& m = reply.metrics) {
      out["agent"] = {{"cpu_percent", m->cpu_percent},
                      {"cpu_seconds", m->cpu_seconds},
                      {"memory_used_bytes", m->memory_used_bytes},
                      {"memory_total_bytes", m->memory_total_bytes},
                      {"disk_used_bytes", m->disk_used_bytes},
                      {"disk_total_bytes", m->disk_total_bytes},
                      {"processes", m->processes}};
      if (m->network_receive_bytes)
        out["agent"]["network_receive_bytes"] = *m->network_receive_bytes;
      if (m->network_transmit_bytes)
        out["agent"]["network_transmit_bytes"] = *m->network_transmit_bytes;
    }
    return dump(out, as);
  }
  auto all = details(reply.sandbox);
  all.emplace_back("commands", std::to_string(reply.execs) + " running");
  if (const auto& s = reply.stats) {
    all.emplace_back("cpu", number(s->cpu_seconds) + " s used, "
                                + number(s->cpu_throttled_seconds)
                                + " s throttled");
    all.emplace_back(
        "memory",
        format_bytes(static_cast<double>(s->memory_bytes)) + " of "
            + format_bytes(static_cast<double>(s->memory_limit_bytes))
            + ", peak "
            + format_bytes(static_cast<double>(s->memory_peak_bytes)));
    all.emplace_back(
        "disk", format_bytes(static_cast<double>(s->disk_bytes)) + " of "
                    + format_bytes(static_cast<double>(s->disk_limit_bytes)));
    all.emplace_back("processes", std::to_string(s->pids) + " of "
                                      + std::to_string(s->pids_limit));
  }
  if (const auto& m = reply.metrics)
    all.emplace_back("agent says",
                     "cpu " + number(m->cpu_percent) + " %, memory "
                         + number(m->memory_used_bytes / mb) + " MB, workspace "
                         + number(m->disk_used_bytes / mb) + " MB");
  return lines(all);
}

std::string show(const api::why_reply& reply, format as) {
  if (as != format::table) {
    json out = {{"id", reply.id}, {"causes", json::array()}};
    for (const auto& item : reply.causes)
      out["causes"].push_back(to_json(item));
    return dump(out, as);
  }
  table out{{"TIME (UTC)", "STATE", "WHO", "CAUSE"}};
  for (const auto& item : reply.causes)
    out.add({date_time(item.time_ms), std::string{to_string(item.to)}, item.who,
             item.text});
  return out.str(stdout_has_colour());
}

std::string show(const api::ps_reply& reply, format as) {
  if (as != format::table) {
    json out = json::array();
    for (const auto& e : reply.execs) {
      json item = {{"exec", e.exec},         {"command", e.command},
                   {"caller", e.caller},     {"started_ms", e.started_ms},
                   {"pid", e.pid},           {"tty", e.tty},
                   {"attached", e.attached}, {"detached", e.detached},
                   {"exited", e.exited}};
      if (e.exited) {
        item["code"] = e.code;
        item["signal"] = e.signal;
      }
      out.push_back(std::move(item));
    }
    return dump(out, as);
  }
  table out{{"EXEC", "STATE", "PID", "WHO", "AGE", "COMMAND"}};
  auto now = wall_clock_ms();
  for (const auto& e : reply.execs) {
    std::string state = e.detached ? "detached" : "running";
    if (e.attached)
      state = "attached";
    if (e.exited)
      state = e.signal != 0 ? "signal " + std::to_string(e.signal)
                            : "exit " + std::to_string(e.code);
    out.add({e.exec, state, e.pid == 0 ? "-" : std::to_string(e.pid), e.caller,
             age(e.started_ms, now), e.command});
  }
  return out.str(stdout_has_colour());
}

std::string show(const api::event& event, format as) {
  if (as != format::table) {
    auto item = to_json(event.what);
    item["sandbox"] = event.sandbox;
    item["name"] = event.name;
    // One line each in JSON, one document each in YAML: a stream.
    return as == format::json
               ? item.dump(-1, ' ', false, json::error_handler_t::replace)
                     + "\n"
               : "---\n" + dump(item, as);
  }
  std::string change{to_string(event.what.to)};
  if (event.what.from != event.what.to)
    change = std::string{to_string(event.what.from)} + " -> " + change;
  return date_time(event.what.time_ms) + "  " + escape_text(event.sandbox)
         + (event.name.empty() ? "" : " (" + escape_text(event.name) + ")")
         + "  " + change + "  " + escape_text(event.what.who) + ": "
         + escape_text(event.what.text) + "\n";
}

std::string show(const std::vector<api::get_reply>& replies, format as) {
  json out = json::array();
  for (const auto& reply : replies)
    out.push_back(json::parse(show(reply, format::json)));
  return dump(out, as);
}

std::string show(const api::node_status_reply& r, format as) {
  json pools = json::array();
  std::string pooled;
  for (const auto& pool : r.pools) {
    pools.push_back({{"template", pool.template_name},
                     {"size", pool.size},
                     {"ready", pool.ready}});
    pooled += (pooled.empty() ? "" : ", ") + escape_text(pool.template_name)
              + " " + std::to_string(pool.ready) + " of "
              + std::to_string(pool.size) + " ready";
  }
  if (as != format::table)
    return dump({{"node", r.node},
                 {"version", r.version},
                 {"started_ms", r.started_ms},
                 {"runtime", r.runtime},
                 {"cgroups", r.cgroups},
                 {"store", r.store},
                 {"cpus_total", r.cpus_total},
                 {"cpus_reserved", r.cpus_reserved},
                 {"memory_mb_total", r.memory_mb_total},
                 {"memory_mb_reserved", r.memory_mb_reserved},
                 {"disk_gb_total", r.disk_gb_total},
                 {"disk_gb_reserved", r.disk_gb_reserved},
                 {"by_state", r.by_state},
                 {"pools", pools},
                 {"listen", r.listen},
                 {"public_key", r.public_key}},
                as);
  std::string states;
  for (const auto& [state, count] : r.by_state)
    if (count > 0)
      states +=
          (states.empty() ? "" : ", ") + std::to_string(count) + " " + state;
  auto share = [](std::uint64_t used, std::uint64_t total, const char* unit) {
    return std::to_string(used) + " of " + std::to_string(total) + unit
           + " reserved";
  };
  return lines(
      {{"node", r.node},
       {"version", r.version},
       {"up", age(r.started_ms, wall_clock_ms())},
       {"runtime", r.runtime},
       {"cgroups", r.cgroups},
       {"store", r.store},
       {"cpus", share(r.cpus_reserved, r.cpus_total, "")},
       {"memory", share(r.memory_mb_reserved, r.memory_mb_total, " MB")},
       {"disk", share(r.disk_gb_reserved, r.disk_gb_total, " GB")},
       {"pool", pooled.empty() ? "none" : pooled},
       {"listen", r.listen.empty() ? "none: ipc alone" : r.listen},
       {"public key", r.public_key},
       {"sandboxes", states.empty() ? "none" : states}});
}

std::string show(const api::audit_reply& reply, format as) {
  if (as != format::table) {
    json rows = json::array();
    for (const auto& row : reply.rows)
      rows.push_back({{"kind", row.kind},
                      {"name", row.name},
                      {"sandbox", row.sandbox},
                      {"verdict", row.verdict}});
    return dump({{"rows", rows}}, as);
  }
  table out{{"VERDICT", "KIND", "NAME", "SANDBOX"}};
  for (const auto& row : reply.rows)
    out.add({row.verdict, row.kind, row.name, row.sandbox});
  return out.str(stdout_has_colour());
}

std::string show(const api::shutdown_reply& reply, format as) {
  if (as != format::table)
    return dump({{"destroyed", reply.destroyed}}, as);
  return std::to_string(reply.destroyed)
         + " sandboxes destroyed; the node ends\n";
}

namespace {

json to_json(const api::token_info& from) {
  return {{"id", from.id},
          {"owner", from.owner},
          {"sandbox", from.sandbox},
          {"template", from.template_name},
          {"scope", std::string{to_string(from.scope)}},
          {"created_ms", from.created_ms},
          {"expires_ms", from.expires_ms}};
}

} // namespace

std::string show(const api::token_reply& reply, format as) {
  if (as == format::table)
    return reply.secret + "\n";
  auto out = to_json(reply.info);
  out["token"] = reply.secret;
  out["url"] = reply.url;
  return dump(out, as);
}

std::string show(const api::token_list_reply& reply, format as) {
  if (as != format::table) {
    json out = json::array();
    for (const auto& each : reply.tokens)
      out.push_back(to_json(each));
    return dump(out, as);
  }
  table out{{"ID", "FOR", "SCOPE", "OWNER", "AGE", "EXPIRES"}};
  const auto now = wall_clock_ms();
  for (const auto& each : reply.tokens)
    out.add(
        {each.id,
         each.sandbox.empty() ? "template " + each.template_name : each.sandbox,
         std::string{to_string(each.scope)}, each.owner,
         age(each.created_ms, now), date_time(each.expires_ms) + " UTC"});
  return out.str(stdout_has_colour());
}

void say_notice(const std::string& text) {
  if (!text.empty())
    std::cerr << "caged: " << escape_text(text) << "\n";
}

std::string show_version(format as) {
  if (as != format::table)
    return dump(
        {{"version", CAGED_VERSION}, {"protocol", api::protocol_version}}, as);
  return "caged " CAGED_VERSION " (protocol "
         + std::to_string(api::protocol_version) + ")\n";
}

} // namespace caged::cli
