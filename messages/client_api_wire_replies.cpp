#include "messages/client_api_wire_detail.hpp"

// Replies, to and from the wire.
namespace caged::api::wire {

namespace {

using wire::fill; // more of them follow, which must not hide these

void fill(v1::Envelope& to, const get_reply& from) {
  auto* out = to.mutable_get_reply();
  fill(out->mutable_sandbox(), from.sandbox);
  out->set_execs(from.execs);
  if (from.stats) {
    auto* s = out->mutable_stats();
    s->set_cpu_seconds(from.stats->cpu_seconds);
    s->set_cpu_throttled_seconds(from.stats->cpu_throttled_seconds);
    s->set_memory_bytes(from.stats->memory_bytes);
    s->set_memory_limit_bytes(from.stats->memory_limit_bytes);
    s->set_memory_peak_bytes(from.stats->memory_peak_bytes);
    s->set_oom_kills(from.stats->oom_kills);
    s->set_pids(from.stats->pids);
    s->set_pids_limit(from.stats->pids_limit);
    s->set_pids_refused(from.stats->pids_refused);
    s->set_disk_bytes(from.stats->disk_bytes);
    s->set_disk_limit_bytes(from.stats->disk_limit_bytes);
  }
  if (from.metrics) {
    auto* m = out->mutable_metrics();
    m->set_cpu_percent(from.metrics->cpu_percent);
    m->set_cpu_seconds(from.metrics->cpu_seconds);
    m->set_memory_used_bytes(from.metrics->memory_used_bytes);
    m->set_memory_total_bytes(from.metrics->memory_total_bytes);
    m->set_disk_used_bytes(from.metrics->disk_used_bytes);
    m->set_disk_total_bytes(from.metrics->disk_total_bytes);
    m->set_processes(from.metrics->processes);
    if (from.metrics->network_receive_bytes)
      m->set_network_receive_bytes(*from.metrics->network_receive_bytes);
    if (from.metrics->network_transmit_bytes)
      m->set_network_transmit_bytes(*from.metrics->network_transmit_bytes);
  }
}

void fill(v1::TokenInfo* to, const token_info& from) {
  to->set_id(from.id);
  to->set_owner(from.owner);
  to->set_sandbox(from.sandbox);
  to->set_template_(from.template_name);
  to->set_scope(static_cast<v1::TokenScope>(from.scope));
  to->set_created_ms(from.created_ms);
  to->set_expires_ms(from.expires_ms);
}

token_info read_token(const v1::TokenInfo& from) {
  return {from.id(),
          from.owner(),
          from.sandbox(),
          from.template_(),
          from.scope() == v1::TOKEN_SCOPE_READ ? token_scope::read
                                               : token_scope::mcp,
          from.created_ms(),
          from.expires_ms()};
}

void fill(v1::KeyInfo* to, const key_info& from) {
  to->set_key(from.key);
  to->set_name(from.name);
  to->set_role(static_cast<v1::Role>(from.as));
  to->set_created_ms(from.created_ms);
}

key_info read_key(const v1::KeyInfo& from) {
  return {from.key(), from.name(),
          read_role(from.role()).value_or(role::viewer), from.created_ms()};
}

template <class Keys>
std::vector<key_info> read_keys(const Keys& from) {
  std::vector<key_info> out;
  for (const auto& each : from)
    out.push_back(read_key(each));
  return out;
}

void fill(v1::NodeInfo* to, const node_info& from) {
  to->set_id(from.id);
  to->set_name(from.name);
  to->set_version(from.version);
  to->set_address(from.address);
  to->set_public_key(from.public_key);
  to->set_metrics(from.metrics);
  to->set_runtime(from.runtime);
  for (const auto& each : from.networks)
    to->add_networks(each);
  to->mutable_labels()->insert(from.labels.begin(), from.labels.end());
  to->set_live(from.live);
  to->set_cordoned(from.cordoned);
  to->set_cordoned_by(from.cordoned_by);
  to->set_cpus_total(from.cpus_total);
  to->set_cpus_reserved(from.cpus_reserved);
  to->set_memory_mb_total(from.memory_mb_total);
  to->set_memory_mb_reserved(from.memory_mb_reserved);
  to->set_disk_gb_total(from.disk_gb_total);
  to->set_disk_gb_reserved(from.disk_gb_reserved);
  to->set_sandboxes(from.sandboxes);
  to->set_self(from.self);
  for (const auto& each : from.templates)
    to->add_templates(each);
}

node_info read_node(const v1::NodeInfo& from) {
  node_info out;
  out.id = from.id();
  out.name = from.name();
  out.version = from.version();
  out.address = from.address();
  out.public_key = from.public_key();
  out.metrics = from.metrics();
  out.runtime = from.runtime();
  out.networks.assign(from.networks().begin(), from.networks().end());
  out.labels = read_map(from.labels());
  out.live = from.live();
  out.cordoned = from.cordoned();
  out.cordoned_by = from.cordoned_by();
  out.cpus_total = from.cpus_total();
  out.cpus_reserved = from.cpus_reserved();
  out.memory_mb_total = from.memory_mb_total();
  out.memory_mb_reserved = from.memory_mb_reserved();
  out.disk_gb_total = from.disk_gb_total();
  out.disk_gb_reserved = from.disk_gb_reserved();
  out.sandboxes = from.sandboxes();
  out.self = from.self();
  out.templates.assign(from.templates().begin(), from.templates().end());
  return out;
}

void fill(v1::Envelope& to, const ps_reply& from) {
  auto* out = to.mutable_ps_reply();
  out->set_id(from.id);
  for (const auto& item : from.execs) {
    auto* e = out->add_execs();
    e->set_exec(item.exec);
    e->set_command(item.command);
    e->set_caller(item.caller);
    e->set_started_ms(item.started_ms);
    e->set_pid(item.pid);
    e->set_tty(item.tty);
    e->set_attached(item.attached);
    e->set_detached(item.detached);
    e->set_exited(item.exited);
    e->set_code(item.code);
    e->set_signal(item.signal);
  }
}

void fill(v1::Envelope& to, const node_status_reply& from) {
  auto* out = to.mutable_node_status_reply();
  out->set_node(from.node);
  out->set_version(from.version);
  out->set_started_ms(from.started_ms);
  out->set_runtime(from.runtime);
  out->set_cgroups(from.cgroups);
  out->set_store(from.store);
  out->set_cpus_total(from.cpus_total);
  out->set_cpus_reserved(from.cpus_reserved);
  out->set_memory_mb_total(from.memory_mb_total);
  out->set_memory_mb_reserved(from.memory_mb_reserved);
  out->set_disk_gb_total(from.disk_gb_total);
  out->set_disk_gb_reserved(from.disk_gb_reserved);
  out->mutable_by_state()->insert(from.by_state.begin(), from.by_state.end());
  for (const auto& pool : from.pools) {
    auto* row = out->add_pools();
    row->set_template_(pool.template_name);
    row->set_size(pool.size);
    row->set_ready(pool.ready);
  }
  out->set_listen(from.listen);
  out->set_public_key(from.public_key);
}

get_reply read_get_reply(const v1::GetReply& from) {
  get_reply out;
  out.sandbox = read_info(from.sandbox());
  out.execs = from.execs();
  if (from.has_stats()) {
    const auto& s = from.stats();
    host_stats stats;
    stats.cpu_seconds = s.cpu_seconds();
    stats.cpu_throttled_seconds = s.cpu_throttled_seconds();
    stats.memory_bytes = s.memory_bytes();
    stats.memory_limit_bytes = s.memory_limit_bytes();
    stats.memory_peak_bytes = s.memory_peak_bytes();
    stats.oom_kills = s.oom_kills();
    stats.pids = s.pids();
    stats.pids_limit = s.pids_limit();
    stats.pids_refused = s.pids_refused();
    stats.disk_bytes = s.disk_bytes();
    stats.disk_limit_bytes = s.disk_limit_bytes();
    out.stats = stats;
  }
  if (from.has_metrics()) {
    const auto& m = from.metrics();
    agent_metrics sample;
    sample.cpu_percent = m.cpu_percent();
    sample.cpu_seconds = m.cpu_seconds();
    sample.memory_used_bytes = m.memory_used_bytes();
    sample.memory_total_bytes = m.memory_total_bytes();
    sample.disk_used_bytes = m.disk_used_bytes();
    sample.disk_total_bytes = m.disk_total_bytes();
    sample.processes = m.processes();
    if (m.has_network_receive_bytes())
      sample.network_receive_bytes = m.network_receive_bytes();
    if (m.has_network_transmit_bytes())
      sample.network_transmit_bytes = m.network_transmit_bytes();
    out.metrics = sample;
  }
  return out;
}

node_status_reply read_status(const v1::NodeStatusReply& from) {
  node_status_reply out;
  out.node = from.node();
  out.version = from.version();
  out.started_ms = from.started_ms();
  out.runtime = from.runtime();
  out.cgroups = from.cgroups();
  out.store = from.store();
  out.cpus_total = from.cpus_total();
  out.cpus_reserved = from.cpus_reserved();
  out.memory_mb_total = from.memory_mb_total();
  out.memory_mb_reserved = from.memory_mb_reserved();
  out.disk_gb_total = from.disk_gb_total();
  out.disk_gb_reserved = from.disk_gb_reserved();
  for (const auto& [state, count] : from.by_state())
    out.by_state[state] = count;
  for (const auto& pool : from.pools())
    out.pools.push_back({pool.template_(), pool.size(), pool.ready()});
  out.listen = from.listen();
  out.public_key = from.public_key();
  return out;
}

void fill(v1::StoreAccess* to, const store_access& from) {
  to->set_url(from.url);
  to->set_ca(from.ca);
  to->set_certificate(from.certificate);
  to->set_key(from.key);
  to->set_user(from.user);
  to->set_password(from.password);
}

store_access read_access(const v1::StoreAccess& from) {
  return {from.url(), from.ca(),   from.certificate(),
          from.key(), from.user(), from.password()};
}

} // namespace

void fill_reply(v1::Envelope& to, const reply_body& body) {
  std::visit(overloaded{
                 [&](const hello_reply& b) {
                   auto* out = to.mutable_hello_reply();
                   out->set_protocol(static_cast<std::uint32_t>(b.protocol));
                   out->set_version(b.version);
                   out->set_node(b.node);
                   out->set_caller(b.caller);
                 },
                 [&](const up_progress& b) {
                   to.mutable_up_progress()->set_step(b.step);
                 },
                 [&](const up_reply& b) {
                   fill(to.mutable_up_reply()->mutable_sandbox(), b.sandbox);
                 },
                 [&](const list_reply& b) {
                   auto* out = to.mutable_list_reply();
                   for (const auto& sandbox : b.sandboxes)
                     fill(out->add_sandboxes(), sandbox);
                   out->set_notice(b.notice);
                 },
                 [&](const exec_started& b) {
                   auto* out = to.mutable_exec_started();
                   out->set_sandbox(b.sandbox);
                   out->set_pid(b.pid);
                   out->set_created(b.created);
                 },
                 [&](const exec_exit& b) {
                   auto* out = to.mutable_exec_exit();
                   out->set_code(b.code);
                   out->set_signal(b.signal);
                   out->set_reason(b.reason);
                 },
                 [&](const destroy_reply& b) {
                   to.mutable_destroy_reply()->set_id(b.id);
                   to.mutable_destroy_reply()->set_was_there(b.was_there);
                 },
                 [&](const log_chunk& b) {
                   to.mutable_log_chunk()->set_bytes(b.bytes);
                   to.mutable_log_chunk()->set_last(b.last);
                 },
                 [&](const why_reply& b) {
                   auto* out = to.mutable_why_reply();
                   out->set_id(b.id);
                   for (const auto& item : b.causes)
                     fill(out->add_causes(), item);
                 },
                 [&](const audit_reply& b) {
                   auto* out = to.mutable_audit_reply();
                   for (const auto& row : b.rows) {
                     auto* r = out->add_rows();
                     r->set_kind(row.kind);
                     r->set_name(row.name);
                     r->set_sandbox(row.sandbox);
                     r->set_verdict(row.verdict);
                   }
                 },
                 [&](const state_reply& b) {
                   auto* out = to.mutable_state_reply();
                   fill(out->mutable_sandbox(), b.sandbox);
                   out->set_changed(b.changed);
                 },
                 [&](const token_reply& b) {
                   fill(to.mutable_token_reply()->mutable_info(), b.info);
                   to.mutable_token_reply()->set_secret(b.secret);
                   to.mutable_token_reply()->set_url(b.url);
                 },
                 [&](const token_list_reply& b) {
                   to.mutable_token_list_reply();
                   for (const auto& each : b.tokens)
                     fill(to.mutable_token_list_reply()->add_tokens(), each);
                 },
                 [&](const token_revoke_reply& b) {
                   to.mutable_token_revoke_reply()->set_token(b.token);
                 },
                 [&](const key_reply& b) {
                   fill(to.mutable_key_reply()->mutable_info(), b.info);
                   to.mutable_key_reply()->set_created(b.created);
                 },
                 [&](const key_list_reply& b) {
                   to.mutable_key_list_reply();
                   for (const auto& each : b.keys)
                     fill(to.mutable_key_list_reply()->add_keys(), each);
                 },
                 [&](const probe&) {}, // nothing but its hop
                 [&](const key_revoke_reply& b) {
                   to.mutable_key_revoke_reply();
                   for (const auto& each : b.keys)
                     fill(to.mutable_key_revoke_reply()->add_keys(), each);
                 },
                 [&](const node_list_reply& b) {
                   auto* out = to.mutable_node_list_reply();
                   for (const auto& each : b.nodes)
                     fill(out->add_nodes(), each);
                   out->set_notice(b.notice);
                 },
                 [&](const node_reply& b) {
                   fill(to.mutable_node_reply()->mutable_node(), b.node);
                   to.mutable_node_reply()->set_changed(b.changed);
                 },
                 [&](const node_remove_reply& b) {
                   to.mutable_node_remove_reply()->set_id(b.id);
                   to.mutable_node_remove_reply()->set_name(b.name);
                   to.mutable_node_remove_reply()->set_sandboxes(b.sandboxes);
                 },
                 [&](const node_token_reply& b) {
                   auto* out = to.mutable_node_token_reply();
                   out->set_token(b.token);
                   out->set_expires_ms(b.expires_ms);
                   out->set_address(b.address);
                 },
                 [&](const template_chunk& b) {
                   auto* out = to.mutable_template_chunk();
                   out->set_digest(b.digest);
                   out->set_size(b.size);
                   out->set_offset(b.offset);
                   out->set_bytes(b.bytes);
                   out->set_bytes_digest(b.bytes_digest);
                 },
                 [&](const join_reply& b) {
                   auto* out = to.mutable_join_reply();
                   out->set_cluster(b.cluster);
                   out->set_node(b.node);
                   fill(out->mutable_store(), b.store);
                 },
                 [&](const kill_reply& b) {
                   to.mutable_kill_reply()->set_exec(b.exec);
                 },
                 [&](const events_reply& b) {
                   auto* out = to.mutable_events_reply();
                   for (const auto& item : b.events) {
                     auto* e = out->add_events();
                     e->set_sandbox(item.sandbox);
                     e->set_name(item.name);
                     fill(e->mutable_cause(), item.what);
                   }
                   out->set_last(b.last);
                 },
                 [&](const shutdown_reply& b) {
                   to.mutable_shutdown_reply()->set_destroyed(b.destroyed);
                 },
                 [&](const error_reply& b) {
                   auto* out = to.mutable_error();
                   out->set_code(std::string{to_string(b.why.code)});
                   out->set_message(b.why.message);
                   out->set_hint(b.why.hint);
                   out->set_sandbox(b.sandbox);
                   out->set_node(b.node);
                 },
                 [&](const auto& b) { fill(to, b); },
             },
             body);
}

result<reply_body> read_reply_body(v1::Envelope& from) {
  switch (from.body_case()) {
  case v1::Envelope::kError: {
    const auto& e = from.error();
    return reply_body{
        error_reply{{ec_from_string(e.code()), e.message(), e.hint()},
                    e.sandbox(),
                    e.node()}};
  }
  case v1::Envelope::kHelloReply: {
    const auto& h = from.hello_reply();
    return reply_body{hello_reply{static_cast<int>(h.protocol()), h.version(),
                                  h.node(), h.caller()}};
  }
  case v1::Envelope::kUpProgress:
    return reply_body{up_progress{from.up_progress().step()}};
  case v1::Envelope::kUpReply:
    return reply_body{up_reply{read_info(from.up_reply().sandbox())}};
  case v1::Envelope::kListReply: {
    list_reply out;
    for (const auto& sandbox : from.list_reply().sandboxes())
      out.sandboxes.push_back(read_info(sandbox));
    out.notice = from.list_reply().notice();
    return reply_body{std::move(out)};
  }
  case v1::Envelope::kGetReply:
    return reply_body{read_get_reply(from.get_reply())};
  case v1::Envelope::kExecStarted: {
    const auto& s = from.exec_started();
    return reply_body{exec_started{s.sandbox(), s.pid(), s.created()}};
  }
  case v1::Envelope::kExecExit: {
    const auto& e = from.exec_exit();
    return reply_body{exec_exit{e.code(), e.signal(), e.reason()}};
  }
  case v1::Envelope::kDestroyReply:
    return reply_body{destroy_reply{from.destroy_reply().id(),
                                    from.destroy_reply().was_there()}};
  case v1::Envelope::kLogChunk:
    return reply_body{
        log_chunk{std::move(*from.mutable_log_chunk()->mutable_bytes()),
                  from.log_chunk().last()}};
  case v1::Envelope::kWhyReply: {
    why_reply out{from.why_reply().id(), {}};
    for (const auto& item : from.why_reply().causes())
      out.causes.push_back(read_cause(item));
    return reply_body{std::move(out)};
  }
  case v1::Envelope::kNodeStatusReply:
    return reply_body{read_status(from.node_status_reply())};
  case v1::Envelope::kAuditReply: {
    audit_reply out;
    for (const auto& row : from.audit_reply().rows())
      out.rows.push_back(
          {row.kind(), row.name(), row.sandbox(), row.verdict()});
    return reply_body{std::move(out)};
  }
  case v1::Envelope::kStateReply:
    return reply_body{state_reply{read_info(from.state_reply().sandbox()),
                                  from.state_reply().changed()}};
  case v1::Envelope::kPsReply: {
    ps_reply out{from.ps_reply().id(), {}};
    for (const auto& e : from.ps_reply().execs())
      out.execs.push_back({e.exec(), e.command(), e.caller(), e.started_ms(),
                           e.pid(), e.tty(), e.attached(), e.detached(),
                           e.exited(), e.code(), e.signal()});
    return reply_body{std::move(out)};
  }
  case v1::Envelope::kKillReply:
    return reply_body{kill_reply{from.kill_reply().exec()}};
  case v1::Envelope::kTokenReply:
    return reply_body{token_reply{read_token(from.token_reply().info()),
                                  from.token_reply().secret(),
                                  from.token_reply().url()}};
  case v1::Envelope::kTokenListReply: {
    token_list_reply out;
    for (const auto& each : from.token_list_reply().tokens())
      out.tokens.push_back(read_token(each));
    return reply_body{std::move(out)};
  }
  case v1::Envelope::kTokenRevokeReply:
    return reply_body{token_revoke_reply{from.token_revoke_reply().token()}};
  case v1::Envelope::kKeyReply:
    return reply_body{key_reply{read_key(from.key_reply().info()),
                                from.key_reply().created()}};
  case v1::Envelope::kKeyListReply:
    return reply_body{key_list_reply{read_keys(from.key_list_reply().keys())}};
  case v1::Envelope::kKeyRevokeReply:
    return reply_body{
        key_revoke_reply{read_keys(from.key_revoke_reply().keys())}};
  case v1::Envelope::kNodeListReply: {
    node_list_reply out;
    for (const auto& each : from.node_list_reply().nodes())
      out.nodes.push_back(read_node(each));
    out.notice = from.node_list_reply().notice();
    return reply_body{std::move(out)};
  }
  case v1::Envelope::kNodeReply:
    return reply_body{node_reply{read_node(from.node_reply().node()),
                                 from.node_reply().changed()}};
  case v1::Envelope::kNodeRemoveReply:
    return reply_body{node_remove_reply{from.node_remove_reply().id(),
                                        from.node_remove_reply().name(),
                                        from.node_remove_reply().sandboxes()}};
  case v1::Envelope::kNodeTokenReply: {
    const auto& t = from.node_token_reply();
    return reply_body{node_token_reply{t.token(), t.expires_ms(), t.address()}};
  }
  case v1::Envelope::kTemplateChunk: {
    auto* t = from.mutable_template_chunk();
    return reply_body{template_chunk{t->digest(), t->size(), t->offset(),
                                     std::move(*t->mutable_bytes()),
                                     t->bytes_digest()}};
  }
  case v1::Envelope::kJoinReply: {
    const auto& j = from.join_reply();
    return reply_body{
        join_reply{j.cluster(), j.node(), read_access(j.store())}};
  }
  case v1::Envelope::kEventsReply: {
    events_reply out;
    for (const auto& e : from.events_reply().events())
      out.events.push_back({e.sandbox(), e.name(), read_cause(e.cause())});
    out.last = from.events_reply().last();
    return reply_body{std::move(out)};
  }
  case v1::Envelope::kShutdownReply:
    return reply_body{shutdown_reply{from.shutdown_reply().destroyed()}};
  default:
    return read_stream<reply_body>(from);
  }
}

} // namespace caged::api::wire
