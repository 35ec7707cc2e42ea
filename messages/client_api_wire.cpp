#include "messages/client_api_wire.hpp"

#include <algorithm>
#include <limits>

#include <google/protobuf/stubs/logging.h>

#include "messages/proto/caged.pb.h"
#include "messages/text.hpp"

namespace caged::api {

namespace {

template <class... Ts>
struct overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
overloaded(Ts...) -> overloaded<Ts...>;

int hex_value(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  return c - 'a' + 10;
}

/// 36 characters to 16 bytes; the text must be a UUID.
std::string uuid_bytes(const std::string& text) {
  std::string out;
  int high = -1;
  for (char c : text) {
    if (c == '-')
      continue;
    if (high < 0) {
      high = hex_value(c);
    } else {
      out.push_back(static_cast<char>(high * 16 + hex_value(c)));
      high = -1;
    }
  }
  return out;
}

std::string uuid_text(const std::string& bytes) {
  static const char* digits = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      out.push_back('-');
    auto byte = static_cast<unsigned char>(bytes[i]);
    out.push_back(digits[byte >> 4]);
    out.push_back(digits[byte & 15]);
  }
  return out;
}

// -- to the wire
// ---------------------------------------------------------------

void fill(v1::SandboxSpec* to, const sandbox_spec& from) {
  to->set_name(from.name);
  to->set_template_name(from.template_name);
  to->set_runtime(from.runtime);
  to->set_cpus(from.cpus);
  to->set_memory_mb(from.memory_mb);
  to->set_disk_gb(from.disk_gb);
  to->set_pids(from.pids);
  to->set_network(static_cast<v1::NetworkMode>(from.network));
  to->mutable_env()->insert(from.env.begin(), from.env.end());
  to->mutable_labels()->insert(from.labels.begin(), from.labels.end());
  to->set_workdir(from.workdir);
  to->set_init_script(from.init_script);
}

void fill(v1::Cause* to, const cause& from) {
  to->set_time_ms(from.time_ms);
  to->set_from(static_cast<v1::Phase>(from.from));
  to->set_to(static_cast<v1::Phase>(from.to));
  to->set_who(from.who);
  to->set_text(from.text);
}

void fill(v1::SandboxInfo* to, const sandbox_info& from) {
  to->set_id(from.id);
  to->set_owner(from.owner);
  to->set_node(from.node);
  to->set_state(static_cast<v1::Phase>(from.state));
  fill(to->mutable_spec(), from.spec);
  to->set_created_ms(from.created_ms);
  fill(to->mutable_last_cause(), from.last_cause);
  to->set_agent_version(from.agent_version);
  to->set_last_heartbeat_ms(from.last_heartbeat_ms);
  to->set_init_state(from.init_state);
}

v1::Channel wire(channel on) {
  return static_cast<v1::Channel>(on);
}

void fill(v1::Envelope& to, const stream_data& from) {
  auto* data = to.mutable_data();
  data->set_channel(wire(from.on));
  data->set_offset(from.offset);
  data->set_bytes(from.bytes);
}
void fill(v1::Envelope& to, const stream_ack& from) {
  to.mutable_ack()->set_channel(wire(from.on));
  to.mutable_ack()->set_offset(from.offset);
}
void fill(v1::Envelope& to, const stream_credit& from) {
  to.mutable_credit()->set_channel(wire(from.on));
  to.mutable_credit()->set_limit(from.limit);
}
void fill(v1::Envelope& to, const stream_eof& from) {
  to.mutable_eof()->set_channel(wire(from.on));
  to.mutable_eof()->set_offset(from.offset);
}

void fill(v1::Envelope& to, const exec& from) {
  auto* out = to.mutable_exec();
  out->set_sandbox(from.sandbox);
  for (const auto& arg : from.argv)
    out->add_argv(arg);
  out->set_login(from.login);
  out->set_cwd(from.cwd);
  out->mutable_env()->insert(from.env.begin(), from.env.end());
  out->set_user(from.user);
  out->set_tty(from.tty);
  out->set_rows(from.rows);
  out->set_cols(from.cols);
  out->set_wants_stdin(from.wants_stdin);
  out->set_timeout_ms(static_cast<std::uint64_t>(from.timeout.count()));
  out->set_stdout_offset(from.stdout_offset);
  out->set_stderr_offset(from.stderr_offset);
  out->set_stdout_credit(from.stdout_credit);
  out->set_stderr_credit(from.stderr_credit);
}

void fill_request(v1::Envelope& to, const request_body& body) {
  std::visit(
      overloaded{
          [&](const hello& b) { to.mutable_hello()->set_client(b.client); },
          [&](const up& b) { fill(to.mutable_up()->mutable_spec(), b.spec); },
          [&](const list& b) {
            to.mutable_list()->set_all_owners(b.all_owners);
            to.mutable_list()->set_destroyed(b.destroyed);
            to.mutable_list()->mutable_labels()->insert(b.labels.begin(),
                                                        b.labels.end());
          },
          [&](const get& b) { to.mutable_get()->set_sandbox(b.sandbox); },
          [&](const destroy& b) {
            to.mutable_destroy()->set_sandbox(b.sandbox);
          },
          [&](const logs& b) {
            to.mutable_logs()->set_sandbox(b.sandbox);
            to.mutable_logs()->set_source(b.source);
          },
          [&](const why& b) { to.mutable_why()->set_sandbox(b.sandbox); },
          [&](const node_status&) { to.mutable_node_status(); },
          [&](const node_audit&) { to.mutable_node_audit(); },
          [&](const node_shutdown& b) {
            to.mutable_node_shutdown()->set_destroy_all(b.destroy_all);
          },
          [&](const exec_signal& b) {
            to.mutable_signal()->set_number(b.number);
          },
          [&](const exec_resize& b) {
            to.mutable_resize()->set_rows(b.rows);
            to.mutable_resize()->set_cols(b.cols);
          },
          [&](const auto& b) { fill(to, b); },
      },
      body);
}

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
}

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

// -- from the wire
// ---------------------------------------------------------------

phase read_phase(int value) {
  return value >= 1 && value <= 8 ? static_cast<phase>(value) : phase::lost;
}

template <class Map>
std::map<std::string, std::string> read_map(const Map& from) {
  return {from.begin(), from.end()};
}

sandbox_spec read_spec(const v1::SandboxSpec& from) {
  sandbox_spec out;
  out.name = from.name();
  out.template_name = from.template_name();
  out.runtime = from.runtime();
  out.cpus = from.cpus();
  out.memory_mb = from.memory_mb();
  out.disk_gb = from.disk_gb();
  out.pids = from.pids();
  out.network = from.network() >= 1 && from.network() <= 3
                    ? static_cast<network_mode>(from.network())
                    : network_mode::none;
  out.env = read_map(from.env());
  out.labels = read_map(from.labels());
  out.workdir = from.workdir();
  out.init_script = from.init_script();
  return out;
}

cause read_cause(const v1::Cause& from) {
  return {from.time_ms(), read_phase(from.from()), read_phase(from.to()),
          from.who(), from.text()};
}

sandbox_info read_info(const v1::SandboxInfo& from) {
  sandbox_info out;
  out.id = from.id();
  out.owner = from.owner();
  out.node = from.node();
  out.state = read_phase(from.state());
  out.spec = read_spec(from.spec());
  out.created_ms = from.created_ms();
  out.last_cause = read_cause(from.last_cause());
  out.agent_version = from.agent_version();
  out.last_heartbeat_ms = from.last_heartbeat_ms();
  out.init_state = from.init_state();
  return out;
}

std::optional<channel> read_channel(int value) {
  if (value < 0 || value > 3)
    return std::nullopt;
  return static_cast<channel>(value);
}

tl::unexpected<failure> too_long(const char* what, std::size_t is,
                                 std::size_t most) {
  return fail(ec::too_large, std::string{what} + " has " + std::to_string(is)
                                 + " bytes; the most is "
                                 + std::to_string(most));
}

constexpr std::size_t reference_max = 255;

result<void> check_reference(const std::string& reference) {
  if (reference.empty())
    return fail(ec::bad_request, "no sandbox is named",
                "name one by id, name or unique prefix");
  if (reference.size() > reference_max)
    return too_long("the sandbox's name", reference.size(), reference_max);
  return {};
}

bool has_nul(const std::string& text) {
  return text.find('\0') != std::string::npos;
}

result<exec> read_exec(const v1::Exec& from) {
  exec out;
  out.sandbox = from.sandbox();
  if (auto good = check_reference(out.sandbox); !good)
    return tl::unexpected<failure>(good.error());
  out.argv.assign(from.argv().begin(), from.argv().end());
  out.login = from.login();
  if (out.argv.empty() && !out.login)
    return fail(ec::bad_request, "no command is given",
                "put it behind --: caged exec ID -- ls -l");
  if (out.argv.size() > limits::argv_max)
    return fail(ec::too_large, "the command has "
                                   + std::to_string(out.argv.size())
                                   + " arguments; the most is "
                                   + std::to_string(limits::argv_max));
  std::size_t bytes = 0;
  for (const auto& arg : out.argv) {
    bytes += arg.size() + 1;
    if (has_nul(arg))
      return fail(ec::bad_request, "an argument contains a NUL byte");
  }
  if (bytes > limits::argv_bytes_max)
    return too_long("the command", bytes, limits::argv_bytes_max);
  out.cwd = from.cwd();
  out.env = read_map(from.env());
  out.user = from.user();
  if (out.cwd.size() > 4096 || out.user.size() > 256 || has_nul(out.cwd)
      || has_nul(out.user))
    return fail(ec::bad_request, "the working directory or user is no valid "
                                 "text");
  if (out.env.size() > limits::env_max)
    return fail(ec::too_large, "the environment has "
                                   + std::to_string(out.env.size())
                                   + " variables; the most is "
                                   + std::to_string(limits::env_max));
  bytes = 0;
  for (const auto& [key, value] : out.env) {
    bytes += key.size() + value.size() + 2;
    if (key.empty() || key.find('=') != std::string::npos || has_nul(key)
        || has_nul(value))
      return fail(ec::bad_request,
                  caged::quoted(key) + " is no name of a variable");
  }
  if (bytes > limits::env_bytes_max)
    return too_long("the environment", bytes, limits::env_bytes_max);
  out.tty = from.tty();
  auto size = [](std::uint32_t value) {
    return static_cast<std::uint16_t>(std::clamp(value, 1u, 10000u));
  };
  out.rows = size(from.rows());
  out.cols = size(from.cols());
  out.wants_stdin = from.wants_stdin();
  constexpr std::uint64_t longest = 1000ULL * 3600 * 24 * 365;
  out.timeout = std::chrono::milliseconds(std::min(from.timeout_ms(), longest));
  out.stdout_offset = from.stdout_offset();
  out.stderr_offset = from.stderr_offset();
  out.stdout_credit = from.stdout_credit();
  out.stderr_credit = from.stderr_credit();
  for (auto [offset, credit] :
       {std::pair{out.stdout_offset, out.stdout_credit},
        std::pair{out.stderr_offset, out.stderr_credit}})
    if (credit > offset && credit - offset > limits::window_max)
      return too_long("the window", credit - offset, limits::window_max);
  return out;
}

/// The four stream messages, both directions. Body: request or reply.
template <class Body>
result<Body> read_stream(v1::Envelope& from) {
  std::optional<channel> on;
  switch (from.body_case()) {
  case v1::Envelope::kData: {
    on = read_channel(from.data().channel());
    if (!on)
      break;
    if (from.data().bytes().size() > limits::frame_max)
      return too_long("a frame", from.data().bytes().size(), limits::frame_max);
    stream_data out{*on, from.data().offset(), {}};
    out.bytes = std::move(*from.mutable_data()->mutable_bytes());
    return Body{std::move(out)};
  }
  case v1::Envelope::kAck:
    if ((on = read_channel(from.ack().channel())))
      return Body{stream_ack{*on, from.ack().offset()}};
    break;
  case v1::Envelope::kCredit:
    if ((on = read_channel(from.credit().channel())))
      return Body{stream_credit{*on, from.credit().limit()}};
    break;
  case v1::Envelope::kEof:
    if ((on = read_channel(from.eof().channel())))
      return Body{stream_eof{*on, from.eof().offset()}};
    break;
  default:
    return fail(ec::malformed, "the message has no body that is known here",
                "client and node may be of different versions");
  }
  return fail(ec::malformed, "a stream message names no channel");
}

result<request_body> read_request_body(v1::Envelope& from) {
  auto named = [](auto body) -> result<request_body> {
    if (auto good = check_reference(body.sandbox); !good)
      return tl::unexpected<failure>(good.error());
    return request_body{std::move(body)};
  };
  switch (from.body_case()) {
  case v1::Envelope::kHello:
    return request_body{hello{escape_text(from.hello().client(), 64)}};
  case v1::Envelope::kUp: {
    up out{read_spec(from.up().spec())};
    if (from.up().spec().network() < 1 || from.up().spec().network() > 3)
      return fail(ec::bad_request, "the network mode is unknown");
    if (auto good = validate(out.spec); !good)
      return tl::unexpected<failure>(good.error());
    return request_body{std::move(out)};
  }
  case v1::Envelope::kList: {
    if (static_cast<std::size_t>(from.list().labels().size())
        > limits::labels_max)
      return fail(ec::too_large, "too many labels");
    return request_body{list{from.list().all_owners(), from.list().destroyed(),
                             read_map(from.list().labels())}};
  }
  case v1::Envelope::kGet:
    return named(get{from.get().sandbox()});
  case v1::Envelope::kExec: {
    auto out = read_exec(from.exec());
    if (!out)
      return tl::unexpected<failure>(out.error());
    return request_body{std::move(*out)};
  }
  case v1::Envelope::kDestroy:
    return named(destroy{from.destroy().sandbox()});
  case v1::Envelope::kLogs:
    return named(logs{from.logs().sandbox(), from.logs().source()});
  case v1::Envelope::kWhy:
    return named(why{from.why().sandbox()});
  case v1::Envelope::kNodeStatus:
    return request_body{node_status{}};
  case v1::Envelope::kNodeAudit:
    return request_body{node_audit{}};
  case v1::Envelope::kNodeShutdown:
    return request_body{node_shutdown{from.node_shutdown().destroy_all()}};
  case v1::Envelope::kSignal:
    if (from.signal().number() < 1 || from.signal().number() > 64)
      return fail(ec::bad_request,
                  "there is no signal "
                      + std::to_string(from.signal().number()));
    return request_body{exec_signal{from.signal().number()}};
  case v1::Envelope::kResize: {
    if (from.resize().rows() < 1 || from.resize().rows() > 10000
        || from.resize().cols() < 1 || from.resize().cols() > 10000)
      return fail(ec::bad_request, "a terminal has 1 to 10000 rows and "
                                   "columns");
    return request_body{
        exec_resize{static_cast<std::uint16_t>(from.resize().rows()),
                    static_cast<std::uint16_t>(from.resize().cols())}};
  }
  default:
    return read_stream<request_body>(from);
  }
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
  return out;
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
  case v1::Envelope::kShutdownReply:
    return reply_body{shutdown_reply{from.shutdown_reply().destroyed()}};
  default:
    return read_stream<reply_body>(from);
  }
}

/// Protobuf prints a line on stderr for every text that is no UTF-8: anybody
/// could fill the log, and the error says it already.
bool parse(v1::Envelope& to, std::string_view bytes) {
  static const bool silent = [] {
    google::protobuf::SetLogHandler(nullptr);
    return true;
  }();
  return silent
         && to.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): tells a repeat from a conflict, not a
/// defence against a caller who looks for collisions with itself.
std::uint64_t fnv1a(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (char c : bytes) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  return hash;
}

/// Maps have no order on the wire: the digest is taken over a sorted form.
std::uint64_t digest_of(const request_body& body) {
  auto* what = std::get_if<up>(&body);
  if (!what)
    return 0; // only `up` is remembered by its body
  std::string text;
  auto add = [&](const std::string& part) {
    text += std::to_string(part.size()) + ":" + part;
  };
  const auto& s = what->spec;
  add(s.name);
  add(s.template_name);
  add(s.runtime);
  for (auto number :
       {std::uint64_t{s.cpus}, s.memory_mb, s.disk_gb, std::uint64_t{s.pids},
        static_cast<std::uint64_t>(s.network)})
    add(std::to_string(number));
  for (const auto* map : {&s.env, &s.labels})
    for (const auto& [key, value] : *map) {
      add(key);
      add(value);
    }
  add(s.workdir);
  add(s.init_script);
  return fnv1a(text) >> 1; // fits the journal's signed integer
}

} // namespace

std::string encode(const request& message) {
  v1::Envelope out;
  out.set_request_id(uuid_bytes(message.id));
  out.set_remaining_ms(static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(message.remaining.count(), 0,
                               std::numeric_limits<std::uint32_t>::max())));
  fill_request(out, message.body);
  return out.SerializeAsString();
}

std::string encode(const reply& message) {
  v1::Envelope out;
  out.set_request_id(uuid_bytes(message.id));
  fill_reply(out, message.body);
  return out.SerializeAsString();
}

std::string encode_probe() {
  return v1::Envelope{}.SerializeAsString();
}

result<request> decode_request(std::string_view bytes, std::string* id) {
  if (bytes.size() > limits::envelope_max)
    return too_long("the message", bytes.size(), limits::envelope_max);
  v1::Envelope in;
  if (!parse(in, bytes))
    return fail(ec::malformed, "the message is no envelope of caged.v1",
                "client and node may be of different versions");
  if (in.request_id().size() != 16)
    return fail(ec::malformed, "the request id has "
                                   + std::to_string(in.request_id().size())
                                   + " bytes, not the 16 of a UUID");
  request out;
  out.id = uuid_text(in.request_id());
  if (id)
    *id = out.id;
  if (!in.caller().empty())
    return fail(ec::denied, "only nodes may say on whose behalf they ask");
  out.remaining = std::chrono::milliseconds(in.remaining_ms());
  auto body = read_request_body(in);
  if (!body)
    return tl::unexpected<failure>(body.error());
  out.body = std::move(*body);
  out.digest = digest_of(out.body);
  return out;
}

result<std::optional<reply>> decode_reply(std::string_view bytes) {
  v1::Envelope in;
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())
      || !parse(in, bytes))
    return fail(ec::malformed, "the node's answer is no envelope of caged.v1",
                "client and node may be of different versions");
  if (in.body_case() == v1::Envelope::BODY_NOT_SET)
    return std::optional<reply>{};
  if (in.request_id().size() != 16)
    return fail(ec::malformed, "the node's answer names no request");
  auto body = read_reply_body(in);
  if (!body)
    return tl::unexpected<failure>(body.error());
  return std::optional<reply>{
      reply{{}, uuid_text(in.request_id()), std::move(*body)}};
}

} // namespace caged::api
