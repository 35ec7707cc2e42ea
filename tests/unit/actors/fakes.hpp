#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include "actors/directory.hpp"
#include "actors/entrypoint.hpp"
#include "actors/fleet_records.hpp"
#include "actors/publisher.hpp"
#include "actors/told_journal.hpp"
#include "messages/text.hpp"

/// A whole node without kernel, disk or sockets, in simulated time.
namespace caged::fakes {

namespace ap = agent_protocol;
using nlohmann::json;

/// Containers are entries of a map.
class memory_runtime : public runtime {
public:
  std::map<std::string, process_ref> running;
  std::set<std::string> disks;
  std::set<std::string> frozen;
  failure start_error{ec::internal, {}, {}};
  failure destroy_error{ec::internal, {}, {}};
  failure recover_error{ec::agent_lost, "its init is gone", {}};
  bool refuse_pause = false, refuse_resume = false, refuse_start = false,
       refuse_destroy = false, refuse_recover = false;
  std::vector<std::string> calls;
  int overlapping = 0;

  runtime_capabilities capabilities() const override {
    return {"oci", "fake 1", true, true, false, {network_mode::none}};
  }
  result<void> check() override { return {}; }
  std::vector<lease> leases(const launch_request& r) const override {
    return {{"cgroup", "/caged/" + r.id}, {"directory", "/data/" + r.id}};
  }
  result<process_ref> start(const launch_request& r) override {
    calls.push_back("start " + r.id);
    if (refuse_start)
      return tl::unexpected<failure>(start_error);
    process_ref p{static_cast<std::int32_t>(100 + calls.size()), 7};
    running[r.id] = p;
    disks.insert(r.id);
    return p;
  }
  result<void> recover(const launch_request& r, const process_ref& p) override {
    calls.push_back("recover " + r.id);
    if (refuse_recover)
      return tl::unexpected<failure>(recover_error);
    running[r.id] = p;
    disks.insert(r.id);
    return {};
  }
  agent_address address(const launch_request& r,
                        const process_ref& p) const override {
    return {r.id, p, false};
  }
  result<void> kill(const std::string& id) override {
    running.erase(id);
    return {};
  }
  result<void> destroy(const std::string& id, bool keep_disk) override {
    calls.push_back((keep_disk ? "keep " : "destroy ") + id);
    if (refuse_destroy)
      return tl::unexpected<failure>(destroy_error);
    running.erase(id);
    frozen.erase(id);
    std::erase(strays, id);
    if (!keep_disk)
      disks.erase(id);
    return {};
  }
  result<void> pause(const std::string& id) override {
    calls.push_back("pause " + id);
    if (refuse_pause)
      return fail(ec::io, "the freezer is broken");
    frozen.insert(id);
    return {};
  }
  result<void> resume(const std::string& id) override {
    calls.push_back("resume " + id);
    if (refuse_resume)
      return fail(ec::io, "the freezer is broken");
    frozen.erase(id);
    return {};
  }
  result<void> tune(const launch_request& r, const process_ref&) override {
    calls.push_back("tune " + r.id);
    if (refuse_tune)
      return fail(ec::resource, "the limits are broken");
    tuned[r.id] = r.spec;
    return {};
  }
  std::map<std::string, sandbox_spec> tuned;
  bool refuse_tune = false;
  result<host_stats> stats(const launch_request& r) override {
    host_stats s;
    s.memory_bytes = 4096;
    s.oom_kills = kills[r.id];
    return s;
  }
  std::map<std::string, std::uint64_t> kills;
  std::string agent_log(const std::string&) override { return "agent log\n"; }
  result<std::vector<host_resource>> inventory() override {
    std::vector<host_resource> out;
    for (const auto& [id, _] : running) {
      out.push_back({{"cgroup", "/caged/" + id}, id});
      out.push_back({{"directory", "/data/" + id}, id});
    }
    for (const auto& stray : strays)
      out.push_back({{"cgroup", "/caged/" + stray}, stray});
    if (looked)
      looked();
    return out;
  }
  std::vector<std::string> strays;
  std::function<void()> looked; ///< the kernel was read, nothing else yet
  void on_exit(exit_handler handler) override { exit = std::move(handler); }
  exit_handler exit;
};

class memory_store : public store {
public:
  std::map<std::string, record> records;
  std::int64_t revision = 0;
  bool broken = false;
  bool away = false;      ///< every call gives unavailable
  int lose_answers = 0;   ///< so many commits are done and give unavailable
  bool then_away = false; ///< with the answer, the store is gone
  std::string type = "memory";
  watch_handler told; ///< of every change

  result<std::int64_t>
  commit(const std::vector<compare>& compares,
         const std::vector<operation>& operations) override {
    if (broken)
      return fail(ec::io, "the store is broken");
    if (away)
      return is_away();
    for (const auto& c : compares) {
      auto it = records.find(c.key);
      if ((it == records.end() ? 0 : it->second.revision) != c.revision)
        return fail(ec::conflict, c.key + " was changed");
    }
    ++revision;
    for (const auto& o : operations) {
      const bool erased = o.what == operation::kind::erase;
      if (erased)
        records.erase(o.key);
      else
        records[o.key] = {o.key, o.value, revision};
      if (told)
        told({o.key, erased ? std::string{} : o.value, revision}, erased);
    }
    if (lose_answers > 0) {
      --lose_answers;
      away = away || then_away;
      return is_away();
    }
    return revision;
  }
  static tl::unexpected<failure> is_away() {
    return fail(ec::unavailable, "the store is away", "try again");
  }
  result<std::optional<record>> get(const std::string& key) override {
    if (away)
      return is_away();
    auto it = records.find(key);
    return it == records.end() ? std::nullopt : std::optional{it->second};
  }
  result<std::vector<record>> list(const std::string& prefix) override {
    if (away)
      return is_away();
    std::vector<record> out;
    for (const auto& [key, value] : records)
      if (key.rfind(prefix, 0) == 0)
        out.push_back(value);
    return out;
  }
  result<std::shared_ptr<void>> watch(const std::string&,
                                      watch_handler) override {
    return fail(ec::unsupported, "no watches");
  }
  /// They never end.
  result<store_lease> grant(std::chrono::seconds ttl) override {
    if (away)
      return is_away();
    return store_lease{++last_lease, ttl};
  }
  std::int64_t last_lease = 0;
  result<void> keep_alive(std::int64_t) override {
    return fail(ec::not_found, "no leases");
  }
  result<void> revoke(std::int64_t) override { return {}; }
  std::string kind() const override { return type; }
};

class memory_journal : public journal {
public:
  std::map<std::string, sandbox_record> records;
  std::map<std::string, std::vector<lease>> leased;
  std::map<std::string, std::vector<cause>> history;
  std::map<std::string, exec_record> exec_rows;
  bool broken = false;

  result<void> create(const sandbox_record& s, const std::vector<lease>& l,
                      const cause& why) override {
    if (broken)
      return fail(ec::io, "the journal cannot be written: disk full");
    records[s.id] = s;
    leased[s.id] = l;
    history[s.id].push_back(why);
    return {};
  }
  result<void> transition(const sandbox_record& s, const cause& why) override {
    if (broken)
      return fail(ec::io, "the journal cannot be written: disk full");
    records[s.id] = s;
    history[s.id].push_back(why);
    return {};
  }
  result<void> release(const sandbox_record& s, const cause& why,
                       const std::vector<lease>& kept) override {
    if (broken)
      return fail(ec::io, "the journal cannot be written: disk full");
    records[s.id] = s;
    history[s.id].push_back(why);
    leased[s.id] = kept;
    return {};
  }
  result<std::vector<sandbox_record>> sandboxes() override {
    std::vector<sandbox_record> out;
    for (const auto& [_, s] : records)
      if (s.state != phase::destroyed)
        out.push_back(s);
    return out;
  }
  result<std::vector<sandbox_record>> destroyed() override {
    std::vector<sandbox_record> out;
    for (const auto& [_, s] : records)
      if (s.state == phase::destroyed)
        out.push_back(s);
    return out;
  }
  result<std::vector<cause>> causes(const std::string& id) override {
    return history[id];
  }
  result<std::vector<std::pair<std::string, lease>>> leases() override {
    std::vector<std::pair<std::string, lease>> out;
    for (const auto& [id, all] : leased)
      for (const auto& l : all)
        out.emplace_back(id, l);
    return out;
  }
  result<void> expire(std::int64_t before_ms) override {
    expired.push_back(before_ms);
    return {};
  }
  std::vector<std::int64_t> expired; ///< what it was called with
  result<std::vector<std::pair<std::string, cause>>>
  events(std::int64_t since_ms, std::size_t) override {
    std::vector<std::pair<std::string, cause>> out;
    for (const auto& [id, all] : history)
      for (const auto& why : all)
        if (why.time_ms >= since_ms)
          out.emplace_back(id, why);
    return out;
  }
  result<void> touch(const std::string& id, std::int64_t at) override {
    records[id].active_boot_ms = at;
    return {};
  }
  result<void> put_exec(const exec_record& e) override {
    if (broken)
      return fail(ec::io, "the journal cannot be written: disk full");
    exec_rows[e.exec] = e;
    return {};
  }
  result<void> drop_exec(const std::string& e) override {
    exec_rows.erase(e);
    return {};
  }
  result<std::vector<exec_record>> execs() override {
    std::vector<exec_record> out;
    for (const auto& [_, e] : exec_rows)
      out.push_back(e);
    return out;
  }
};

/// One connection as the agent's end of it. Answers hello, resumed, write and
/// exec by itself unless told not to.
class scripted_agent : public agent_channel {
public:
  agent_handlers handlers;
  agent_address where;
  std::vector<ap::line> seen;
  bool closed = false;
  bool answers = true;
  int refused_dials = 0; ///< so many of the next ones
  std::string boot = "boot-1";
  json execs = json::array();
  ap::line_reader reader;

  void send(std::string bytes) override {
    reader.allow_raw(true);
    reader.feed(bytes);
    while (auto got = reader.next()) {
      if (!*got)
        continue;
      auto message = std::move(**got);
      seen.push_back(message);
      if (!answers || !message.id)
        continue;
      auto id = message.id;
      if (message.type == "hello")
        say("hello", id,
            {{"protocol", 1},
             {"agent", "9.9"},
             {"boot", boot},
             {"raw", true},
             {"execs", execs}});
      else if (message.type == "dial" && refused_dials > 0) {
        --refused_dials;
        say("error", id, {{"code", "io"}, {"message", "nobody listens there"}});
      } else if (message.type == "exec")
        say("result", id, answer_exec(message.payload["exec"]));
      else
        say("result", id, json::object());
    }
  }
  void consumed(std::size_t) override {}
  void close() override { closed = true; }

  /// One that it has is attached to, from the lowest offsets it keeps.
  json answer_exec(const json& name) const {
    json out = {{"exec", name}, {"pid", 42}, {"created", true}};
    for (const auto& known : execs)
      if (known["exec"] == name) {
        out["created"] = false;
        out["stdout"] = known.value("stdout", 0);
        out["stderr"] = known.value("stderr", 0);
      }
    return out;
  }

  void say(const std::string& type, std::optional<std::uint64_t> id,
           const json& payload) {
    auto parsed = ap::parse_line(ap::encode_line(type, id, payload));
    if (handlers.on_line && parsed)
      handlers.on_line(*parsed);
  }
  void data(const std::string& exec, const std::string& channel,
            std::uint64_t offset, const std::string& bytes) {
    ap::line l;
    l.type = "data";
    l.payload = {{"stream", exec},
                 {"channel", channel},
                 {"offset", offset},
                 {"len", bytes.size()}};
    l.raw = bytes;
    handlers.on_line(l);
  }
  std::size_t count(const std::string& type) const {
    std::size_t n = 0;
    for (const auto& l : seen)
      n += l.type == type ? 1 : 0;
    return n;
  }
};

class scripted_port : public agent_port {
public:
  std::vector<std::shared_ptr<scripted_agent>> dialled;
  bool reachable = true;
  bool answers = true;
  std::string boot = "boot-1";
  json execs = json::array();

  std::shared_ptr<agent_channel> dial(const agent_address& where,
                                      agent_handlers handlers) override {
    auto made = std::make_shared<scripted_agent>();
    made->where = where;
    made->handlers = std::move(handlers);
    made->answers = answers;
    made->boot = boot;
    made->execs = execs;
    dialled.push_back(made);
    if (reachable)
      made->handlers.on_open();
    else
      made->handlers.on_error({ec::agent_lost, "connection refused", {}}, true);
    return made;
  }
  scripted_agent& last() { return *dialled.back(); }
};

class recording_sink : public client_sink {
public:
  std::vector<api::reply> sent;
  std::multiset<std::string> watched;
  void send(api::reply r) override { sent.push_back(std::move(r)); }
  void watch(const std::string& route) override { watched.insert(route); }
  void unwatch(const std::string& route) override {
    auto it = watched.find(route);
    if (it != watched.end())
      watched.erase(it);
  }
  template <class T>
  std::vector<T> all(const std::string& id) const {
    std::vector<T> out;
    for (const auto& r : sent)
      if (r.id == id)
        if (auto* body = std::get_if<T>(&r.body))
          out.push_back(*body);
    return out;
  }
};

class counting_metrics : public metrics_sink {
public:
  std::set<std::string> known;
  std::map<std::string, phase> states;
  std::map<std::string, agent_metrics> samples;
  int refused = 0;
  std::size_t orphan_count = 0;
  unsigned cpus_reserved = 0;
  void info(const std::string& id, const sandbox_spec&) override {
    known.insert(id);
  }
  void state(const std::string& id, phase now) override { states[id] = now; }
  void agent(const std::string& id, const agent_metrics& s) override {
    samples[id] = s;
  }
  void heartbeat(const std::string&) override {}
  void host(const std::string&, const host_stats&) override {}
  void remove(const std::string& id) override { known.erase(id); }
  void capacity(unsigned, unsigned used, std::uint64_t, std::uint64_t,
                std::uint64_t, std::uint64_t) override {
    cpus_reserved = used;
  }
  std::map<std::string, std::size_t> pool_ready;
  int pool_hits = 0, pool_misses = 0;
  void pool(const std::string& name, std::size_t, std::size_t ready) override {
    pool_ready[name] = ready;
  }
  void pool_asked(const std::string&, bool hit) override {
    ++(hit ? pool_hits : pool_misses);
  }
  void created(std::chrono::nanoseconds) override {}
  void exec_answered(std::chrono::nanoseconds) override {}
  void message(std::string_view) override {}
  void error(ec) override {}
  void refused_sample(const std::string&) override { ++refused; }
  void orphans(std::size_t n) override { orphan_count = n; }
  void client_refused(std::string_view reason) override {
    ++refusals[std::string{reason}];
  }
  std::map<std::string, int> refusals;
  void gateway_connections(std::size_t) override {}
  void gateway_request(unsigned) override {}
};

class memory_logs : public exec_logs {
public:
  std::map<std::string, std::string> text;
  result<void> append(const std::string& sandbox, const std::string& source,
                      std::string_view bytes) override {
    if (full)
      return fail(ec::io, "output is lost, the log cannot be written");
    text[sandbox + "/" + source] += bytes;
    return {};
  }
  result<std::string> read(const std::string& sandbox,
                           const std::string& source) override {
    return text[sandbox + "/" + source];
  }
  result<log_part> part(const std::string& sandbox, const std::string& source,
                        std::uint64_t offset, std::size_t most) override {
    const auto& all = text[sandbox + "/" + source];
    auto from = std::max<std::uint64_t>(offset, dropped);
    return log_part{from, from < all.size() ? all.substr(from, most) : "",
                    all.size()};
  }
  void remove(const std::string& sandbox) override {
    std::erase_if(text, [&](const auto& item) {
      return item.first.rfind(sandbox + "/", 0) == 0;
    });
  }
  void remove(const std::string& sandbox, const std::string& source) override {
    text.erase(sandbox + "/" + source);
  }
  std::uint64_t dropped = 0; ///< of every log
  bool full = false;
};

/// The node. run() lets everything happen that is due; pass(t) moves time.
class node {
public:
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  caf::scheduler::test_coordinator* scheduler = nullptr;
  std::shared_ptr<memory_runtime> driver = std::make_shared<memory_runtime>();
  std::shared_ptr<memory_store> store = std::make_shared<memory_store>();
  std::shared_ptr<memory_journal> journal = std::make_shared<memory_journal>();
  std::shared_ptr<scripted_port> agents = std::make_shared<scripted_port>();
  std::shared_ptr<recording_sink> clients = std::make_shared<recording_sink>();
  std::shared_ptr<counting_metrics> metrics =
      std::make_shared<counting_metrics>();
  std::shared_ptr<memory_logs> logs = std::make_shared<memory_logs>();
  std::shared_ptr<node_context> context = std::make_shared<node_context>();
  supervisor_actor supervisor_handle;
  publisher_actor publisher_handle; ///< one of several nodes has it
  entrypoint_actor entry;
  bool stop_requested = false;
  /// The wall clock, moved on with the simulated time.
  std::function<std::int64_t()> now_ms = [this, from = wall_clock_ms()] {
    return from
           + std::chrono::duration_cast<std::chrono::milliseconds>(
                 system->clock().now().time_since_epoch())
                 .count();
  };
  /// When the actors are there and have not been told to start.
  std::function<void()> before_start;

  node() {
    config.set("scheduler.policy", caf::atom("testing"));
    system = std::make_unique<caf::actor_system>(config);
    scheduler =
        &dynamic_cast<caf::scheduler::test_coordinator&>(system->scheduler());
    context->node = "n1";
    context->node_id = "node-1";
    context->version = "test";
    context->total = {16, 16384, 200};
    context->driver = driver;
    context->store = store;
    context->journal = journal;
    context->agents = agents;
    context->clients = clients;
    context->metrics = metrics;
    context->refused = [to = metrics](std::string_view reason,
                                      const std::string&, const std::string&) {
      to->client_refused(reason);
    };
    context->logs = logs;
    context->tokens =
        std::make_shared<token_table>([](std::string_view secret) {
          return "digest " + std::string{secret};
        });
    context->keys = std::make_shared<key_table>();
    context->joins = std::make_shared<join_table>();
    context->fleet = std::make_shared<directory>();
    store->told = [fleet = context->fleet](const record& what, bool erased) {
      fleet->apply(what, erased);
    };
    context->boot_id = "this-boot";
    context->boot_ms = [this] {
      return std::chrono::duration_cast<std::chrono::milliseconds>(
                 system->clock().now().time_since_epoch())
                 .count()
             + 1000000;
    };
    context->request_stop = [this] { stop_requested = true; };
  }
  ~node() { halt(); }

  /// What a node says of itself, into the store.
  void join(const std::string& id, const std::string& called, bool live,
            std::map<std::string, std::string> labels = {}) {
    node_record info;
    info.id = id;
    info.name = called;
    info.version = "test";
    info.runtime = "oci";
    info.networks = {"none"};
    info.labels = std::move(labels);
    info.total = context->total;
    store->commit({},
                  {{operation::kind::put, node_key(id, "info"), encode(info)},
                   {live ? operation::kind::put : operation::kind::erase,
                    node_key(id, "live"), live ? "test" : ""}});
  }

  /// Starts (or, after halt, restarts) the actors from the journal.
  void boot() {
    auto fresh = std::make_shared<node_context>(*context);
    fresh->driver_workers = system->spawn(worker);
    fresh->records = system->spawn(worker);
    fresh->store_calls = system->spawn(worker);
    fresh->templates_in = system->spawn(worker);
    fresh->templates_out = system->spawn(worker);
    context = fresh;
    if (context->peers) {
      publisher_handle = system->spawn(publisher, context_ptr{context}, now_ms);
      context->journal = std::make_shared<told_journal>(
          journal,
          publishing(publisher_handle, context->node_id, context->node));
    }
    node_memory memory;
    memory.sandboxes = journal->sandboxes().value();
    memory.destroyed = journal->destroyed().value();
    memory.execs = journal->execs().value();
    if (auto stored = read_placements(*store, context->node_id))
      memory.stored = std::move(*stored);
    supervisor_handle =
        system->spawn(supervisor, context_ptr{context}, std::move(memory));
    entry = system->spawn(entrypoint, context_ptr{context}, supervisor_handle);
    if (before_start)
      before_start();
    caf::anon_send(supervisor_handle, atom::start::value);
    caf::anon_send(entry, atom::start::value);
    if (publisher_handle)
      caf::anon_send(publisher_handle, atom::start::value);
    run();
  }
  /// As if it were killed: what the publisher has not written is forgotten.
  void halt() {
    if (!supervisor_handle)
      return;
    if (publisher_handle)
      caf::anon_send_exit(publisher_handle, caf::exit_reason::kill);
    context->journal = journal;
    publisher_handle = publisher_actor{};
    caf::anon_send(entry, atom::stop::value);
    caf::anon_send(supervisor_handle, atom::stop::value);
    run();
    caf::anon_send(context->driver_workers, atom::stop::value);
    caf::anon_send(context->records, atom::stop::value);
    caf::anon_send(context->store_calls, atom::stop::value);
    caf::anon_send(context->templates_in, atom::stop::value);
    caf::anon_send(context->templates_out, atom::stop::value);
    run();
    supervisor_handle = supervisor_actor{};
    entry = entrypoint_actor{};
    context->driver_workers = worker_actor{};
    context->records = worker_actor{};
    context->store_calls = worker_actor{};
    context->templates_in = worker_actor{};
    context->templates_out = worker_actor{};
  }
  void run() { scheduler->run(); }
  template <class Duration>
  void pass(Duration t) {
    scheduler->advance_time(t);
    scheduler->run();
  }
  std::string ask(api::request_body body, std::string caller = "uid:0",
                  std::string route = "r1", std::string id = make_uuid(),
                  std::uint64_t digest = 1) {
    auto request = std::make_shared<api::request>();
    request->route = std::move(route);
    request->id = id;
    request->admin = caller == "uid:0";
    request->caller = std::move(caller);
    request->digest = digest;
    request->body = std::move(body);
    caf::anon_send(entry, request_ptr{request});
    run();
    return id;
  }
  template <class T>
  std::vector<T> answers(const std::string& id) {
    return clients->all<T>(id);
  }
  /// The error a request ended with; code internal and no text when none.
  failure error_of(const std::string& id) {
    auto all = answers<api::error_reply>(id);
    return all.empty() ? failure{} : all.back().why;
  }
  std::string make_sandbox(const std::string& name = {},
                           const std::string& caller = "uid:0") {
    api::up up;
    up.spec.name = name;
    auto id = ask(up, caller);
    auto got = answers<api::up_reply>(id);
    return got.empty() ? std::string{} : got.back().sandbox.id;
  }
  phase state_of(const std::string& id) { return journal->records[id].state; }
  /// Placements and names in the store.
  std::size_t placed() {
    std::size_t out = 0;
    for (const auto& [key, _] : store->records)
      out +=
          key.starts_with("placements/") || key.starts_with("names/") ? 1 : 0;
    return out;
  }
  capacity booked() {
    const auto at = store->records.find(node_key(context->node_id, "reserved"));
    if (at == store->records.end())
      return {};
    const auto read = decode_reserved(at->second.value);
    return read ? read->used : capacity{};
  }
};

} // namespace caged::fakes
