#include "nodes/node.hpp"
#include "nodes/host_load.hpp"

#include <atomic>
#include <charconv>
#include <fstream>
#include <future>
#include <mutex>
#include <sstream>

#include <sys/utsname.h>
#include <unistd.h>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include "actors/entrypoint.hpp"
#include "actors/publisher.hpp"
#include "actors/supervisor.hpp"
#include "actors/told_journal.hpp"
#include "caged_version.hpp"
#include "messages/curve_pair.hpp"
#include "messages/text.hpp"
#include "nodes/asio_agent_port.hpp"
#include "nodes/client_port.hpp"
#include "nodes/data_directory.hpp"
#include "nodes/disk_templates.hpp"
#include "nodes/file_exec_logs.hpp"
#include "nodes/gateway/gateway.hpp"
#include "nodes/late_sink.hpp"
#include "nodes/logging.hpp"
#include "nodes/make_driver.hpp"
#include "nodes/membership.hpp"
#include "nodes/node_key.hpp"
#include "nodes/open_store.hpp"
#include "nodes/prometheus_exposer.hpp"
#include "nodes/refusals.hpp"
#include "nodes/remember.hpp"
#include "nodes/scrape_targets.hpp"
#include "nodes/sha256.hpp"
#include "nodes/sqlite_journal.hpp"
#include "nodes/store_follower.hpp"
#include "nodes/tcp_port.hpp"
#include "nodes/zmq_peer_links.hpp"

namespace caged {

namespace fs = std::filesystem;

namespace {

/// proc_sys_kernel(5): a UUID that is new with every boot.
std::string boot_id() {
  std::string out;
  std::ifstream{"/proc/sys/kernel/random/boot_id"} >> out;
  return out;
}

std::int64_t boot_clock_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

/// uname(2)'s.
std::string host_name() {
  utsname about{};
  return ::uname(&about) == 0 ? about.nodename : "";
}

/// CAF's own worker threads: actors never block, so few do.
constexpr std::size_t actor_threads = 2;

std::vector<std::string> split(const std::string& list, char at) {
  std::vector<std::string> out;
  std::istringstream items{list};
  for (std::string item; std::getline(items, item, at);)
    if (!item.empty())
      out.push_back(item);
  return out;
}

class running_node : public node {
public:
  ~running_node() override { running_node::stop(); }

  std::string metrics_address() const override {
    return exposer_->listen_address();
  }
  const std::string& name() const override { return context_->node; }
  std::optional<failure> over() const override {
    const std::lock_guard guard{over_mutex_};
    return over_;
  }

  result<void> begin(const node_config& config,
                     std::function<void()> request_stop);
  result<void> open_trust(const node_config& config, node_context& context);
  void stop() override;

private:
  void open_joining(const node_config& config, node_context& context);
  result<void> open_links(node_context& context);
  node_record own_record(const node_config& config) const;
  void follow_fleet();
  void stand_alone(const node_config& config);
  void join_fleet(const node_config& config);
  void removed(const failure& why);

  std::unique_ptr<data_directory> directory_;
  std::shared_ptr<runtime> driver_;
  std::shared_ptr<prometheus_exposer> exposer_;
  std::shared_ptr<late_sink> sink_ = std::make_shared<late_sink>();
  std::shared_ptr<agent_port> agents_;
  std::unique_ptr<caf::actor_system_config> system_config_;
  std::unique_ptr<caf::actor_system> system_;
  std::shared_ptr<const node_context> context_;
  std::unique_ptr<client_port> port_;
  std::unique_ptr<tcp_port> tcp_;
  key_pair own_key_;
  std::shared_ptr<zmq_peer_links> peers_;
  std::shared_ptr<disk_templates> templates_;
  std::unique_ptr<store_follower> keys_, joins_;
  std::unique_ptr<gateway> gateway_;
  std::unique_ptr<membership> member_;
  std::atomic<const membership*> member_view_{nullptr}; ///< for actors
  std::vector<std::unique_ptr<store_follower>> followers_;
  supervisor_actor supervisor_;
  publisher_actor publisher_; ///< none where the store is its own
  entrypoint_actor entrypoint_;
  std::promise<entrypoint_actor> entrypoint_ready_;
  bool stopped_ = false;
  mutable std::mutex over_mutex_;
  std::optional<failure> over_;
};

/// The tokens of hosts that want to join.
void running_node::open_joining(const node_config& config,
                                node_context& context) {
  context.joins = std::make_shared<join_table>();
  if (!context.store_away) // the store is its own
    return context.joins->loaded();
  context.joining.make_key = [] { return make_key_pair({}); };
  context.joining.access = [config] { return read_access(config); };
  joins_ = std::make_unique<store_follower>(
      context.store, "joins/",
      [joins = context.joins](const record& what, bool erased) {
        if (!joins->apply(what, erased))
          log_event("an unreadable join token lets nobody in",
                    {{"record", what.key}});
      },
      [joins = context.joins] { joins->loaded(); });
}

/// The keys that are let in over tcp, and the socket for them.
result<void> running_node::open_trust(const node_config& config,
                                      node_context& context) {
  context.keys = std::make_shared<key_table>();
  if (!config.listen.empty() || context.store_away) {
    auto own = open_node_key(config.data_dir);
    if (!own)
      return tl::unexpected<failure>(own.error());
    own_key_ = std::move(*own);
  }
  open_joining(config, context);
  if (!config.listen.empty()) {
    auto opened =
        tcp_port::open({config.listen, own_key_, context.fleet, context.joins},
                       context.keys, exposer_);
    if (!opened)
      return tl::unexpected<failure>(opened.error());
    tcp_ = std::move(*opened);
    context.listen = tcp_->address();
    context.public_key = own_key_.public_key;
  }
  context.keys->on_change([to = tcp_.get()] {
    if (to)
      to->keys_changed();
  });
  auto loaded = std::make_shared<std::promise<void>>();
  keys_ = std::make_unique<store_follower>(
      context.store, "keys/",
      [keys = context.keys](const record& what, bool erased) {
        if (!keys->apply(what, erased))
          log_event("an unreadable key lets nobody in", {{"record", what.key}});
      },
      [keys = context.keys, loaded] {
        keys->loaded();
        loaded->set_value();
      });
  // A store that is away is waited for by those who come, not by the start.
  constexpr auto patience = std::chrono::seconds(1);
  loaded->get_future().wait_for(patience);
  return {};
}

result<void> running_node::begin(const node_config& config,
                                 std::function<void()> request_stop) {
  // The lock comes before everything that a second daemon could disturb.
  auto directory = data_directory::open(config.data_dir, config.run_dir);
  if (!directory)
    return tl::unexpected<failure>(directory.error());
  directory_ = std::move(*directory);
  auto context = std::make_shared<node_context>();
  context->node_id = directory_->node_id();
  context->node =
      config.node_name.empty() ? context->node_id : config.node_name;
  context->version = CAGED_VERSION;
  context->total = {config.cpus, config.memory_mb, config.disk_gb};
  context->max_starts = config.max_starts;
  context->heartbeat_interval = config.heartbeat_interval;
  context->metrics_interval = config.metrics_interval;
  context->failed_retention = config.failed_retention;
  for (const auto& [name, size] : config.pool)
    context->pools.push_back({name, size});
  context->pool_load = config.pool_load;
  context->host_busy = [busy = std::make_shared<host_load>()] {
    return busy->percent();
  };
  context->boot_id = boot_id();
  context->boot_ms = boot_clock_ms;
  context->request_stop = std::move(request_stop);

  auto driver = make_driver(config, context->node_id, context->cgroups);
  if (!driver)
    return tl::unexpected<failure>(driver.error());
  driver_ = std::move(*driver);
  if (auto able = driver_->check(); !able)
    return able;
  context->driver = driver_;

  auto store = open_store(config);
  if (!store)
    return tl::unexpected<failure>(store.error());
  context->store = std::move(*store);
  context->fleet = std::make_shared<caged::directory>();
  if (context->store->kind() == "etcd") {
    context->store_away = [this]() -> std::optional<failure> {
      const auto* member = member_view_.load();
      return member != nullptr ? member->away() : std::nullopt;
    };
  }
  auto journal = open_journal(config.data_dir / "journal.db");
  if (!journal)
    return tl::unexpected<failure>(journal.error());
  context->journal = std::move(*journal);
  context->logs = make_file_exec_logs(config.data_dir / "exec-logs");

  context->tokens = std::make_shared<token_table>(sha256);
  auto unreadable = context->tokens->load(*context->store);
  if (!unreadable && unreadable.error().code != ec::unavailable)
    return tl::unexpected<failure>(unreadable.error());
  if (unreadable && *unreadable > 0)
    log_event("unreadable tokens are left out",
              {{"count", std::to_string(*unreadable)}});

  auto exposer = prometheus_exposer::open(
      config.metrics_address, context->node, context->version,
      driver_->capabilities().name + " " + driver_->capabilities().version);
  if (!exposer)
    return tl::unexpected<failure>(exposer.error());
  exposer_ = std::move(*exposer);
  context->metrics = exposer_;
  context->refused = [to = std::make_shared<refusals>(exposer_)](
                         std::string_view reason, const std::string& who,
                         const std::string& from) {
    to->add(reason, who, from);
  };
  if (auto done = open_trust(config, *context); !done)
    return done;
  if (config.gateway_address != "off") {
    gateway_options web;
    web.address = config.gateway_address;
    web.cert = config.gateway_cert;
    web.key = config.gateway_key;
    web.origins = split(config.gateway_origins, ',');
    web.targets = [fleet = context->fleet] {
      return scrape_targets(fleet->nodes());
    };
    auto opened = gateway::open(web, context->tokens, exposer_);
    if (!opened)
      return tl::unexpected<failure>(opened.error());
    gateway_ = std::move(*opened);
    context->gateway_url = gateway_->url();
    context->token_revoked = [to = gateway_.get()](const std::string& id) {
      to->token_revoked(id);
    };
    sink_->attach_gateway(gateway_.get());
  }
  agents_ = make_asio_agent_port();
  context->agents = agents_;
  context->clients = sink_;

  auto memory = remember(*context->journal, *context->store, context->node_id);
  if (!memory)
    return tl::unexpected<failure>(memory.error());

  system_config_ = std::make_unique<caf::actor_system_config>();
  system_config_->set("scheduler.max-threads", actor_threads);
  // "stealing", CAF's default, polls for work while it is idle; "sharing" waits
  // on a condition. Measured with 4 idle sandboxes on 2 cores: 2 % of a core
  // against 0.2 %, and an exec was answered 24 ms sooner.
  system_config_->set("scheduler.policy", caf::atom("sharing"));
  system_config_->add_error_category(caf::atom("caged"), render_error);
  system_ = std::make_unique<caf::actor_system>(*system_config_);
  std::vector<worker_actor> workers;
  // Starts are admitted by the supervisor; the other calls (readings, the
  // freezer, ends) must not stand behind them.
  constexpr unsigned other_calls = 2;
  for (unsigned i = 0; i < config.max_starts + other_calls; ++i)
    workers.push_back(system_->spawn<caf::detached>(worker));
  context->driver_workers = system_->spawn(worker_pool, std::move(workers));
  context->records = system_->spawn<caf::detached>(worker);
  context->store_calls = context->store->kind() == "sqlite"
                             ? context->records
                             : system_->spawn<caf::detached>(worker);
  if (context->store_away) { // others share it
    if (auto done = open_links(*context); !done)
      return done;
    templates_ = disk_templates::open(config.data_dir);
    context->templates = templates_;
    context->pool_ready = std::make_shared<pool_counts>();
    context->templates_in = system_->spawn<caf::detached>(worker);
    context->templates_out = system_->spawn<caf::detached>(worker);
    publisher_ = system_->spawn(publisher, context_ptr{context},
                                std::function<std::int64_t()>{wall_clock_ms});
    context->journal = std::make_shared<told_journal>(
        std::move(context->journal),
        publishing(publisher_, context->node_id, context->node));
  }
  context_ = context;
  // Known to itself before the store tells anything, and before anybody asks.
  context_->fleet->apply(
      {node_key(context_->node_id, "info"), encode(own_record(config)), 0},
      false);

  supervisor_ = system_->spawn(supervisor, context_, std::move(*memory));
  entrypoint_ = system_->spawn(entrypoint, context_, supervisor_);
  entrypoint_ready_.set_value(entrypoint_);
  driver_->on_exit([to = supervisor_](exit_report report) {
    caf::anon_send(to, std::move(report));
  });
  driver_->on_oom([to = supervisor_](std::string id, std::uint64_t kills) {
    caf::anon_send(to, atom::oom::value, std::move(id), kills);
  });

  const auto on_request = [to = entrypoint_](api::request request) {
    caf::anon_send(to, request_ptr{std::make_shared<const api::request>(
                           std::move(request))});
  };
  const auto on_gone = [to = entrypoint_](std::string route) {
    caf::anon_send(to, atom::gone::value, std::move(route));
  };
  client_port_options options;
  options.endpoint = config.client_endpoint;
  options.metrics = exposer_;
  auto port = client_port::open(options, on_request, on_gone);
  if (!port)
    return tl::unexpected<failure>(port.error());
  port_ = std::move(*port);
  sink_->attach(port_.get());
  if (tcp_) {
    sink_->attach_tcp(tcp_.get());
    tcp_->start(on_request, on_gone);
  }
  if (gateway_)
    gateway_->start(on_request, on_gone);
  // Before anybody is answered: whoever was may look here, and must not find
  // the ports of an earlier daemon.
  if (tcp_)
    std::ofstream{config.run_dir / "listen-address", std::ios::trunc}
        << tcp_->address() << '\n';
  std::ofstream{config.run_dir / "metrics-address", std::ios::trunc}
      << exposer_->listen_address() << '\n';
  if (gateway_)
    std::ofstream{config.run_dir / "gateway-address", std::ios::trunc}
        << gateway_->listen_address() << '\n';
  if (scraped_in_vain(exposer_->listen_address(), context_->listen))
    log_event("metrics are served on loopback alone: a Prometheus elsewhere "
              "will find this node silent",
              {{"metrics", exposer_->listen_address()},
               {"hint", "--metrics-address ADDRESS:9464"}});
  if (context_->store_away)
    join_fleet(config);
  else
    stand_alone(config);
  // Re-adoption comes last, when there is nothing left that could refuse to
  // start.
  caf::anon_send(supervisor_, atom::start::value);
  caf::anon_send(entrypoint_, atom::start::value); // in this order
  if (publisher_)
    caf::anon_send(publisher_, atom::start::value);
  return {};
}

/// The way to other nodes. Whoever is told first waits for the entrypoint.
result<void> running_node::open_links(node_context& context) {
  auto entry = std::make_shared<std::shared_future<entrypoint_actor>>(
      entrypoint_ready_.get_future().share());
  auto opened = zmq_peer_links::open(
      own_key_,
      [entry](std::string from, api::reply what) {
        caf::anon_send(entry->get(),
                       peer_answer{std::move(from), std::move(what)});
      },
      [entry](std::string from, std::uint64_t up_to_hop, failure why) {
        caf::anon_send(entry->get(),
                       peer_lost{std::move(from), up_to_hop, std::move(why)});
      });
  if (!opened)
    return tl::unexpected<failure>(opened.error());
  peers_ = std::move(*opened);
  context.peers = peers_;
  sink_->attach_home([entry, self = context.node_id](api::reply what) {
    std::uint64_t hop = 0;
    const auto digits = std::string_view{what.route}.substr(route_home.size());
    std::from_chars(digits.data(), digits.data() + digits.size(), hop);
    what.hop = hop;
    caf::anon_send(entry->get(), peer_answer{self, std::move(what)});
  });
  return {};
}

/// What this node says of itself.
node_record running_node::own_record(const node_config& config) const {
  node_record self;
  self.id = context_->node_id;
  self.name = context_->node;
  self.version = context_->version;
  const auto abilities = driver_->capabilities();
  self.runtime = abilities.name;
  for (const auto mode : abilities.networks)
    self.networks.emplace_back(to_string(mode));
  self.address = context_->listen;
  self.public_key = context_->public_key;
  self.metrics =
      scrape_address(exposer_->listen_address(), context_->listen, host_name());
  self.labels = config.labels;
  self.total = context_->total;
  return self;
}

/// What the store tells of nodes and placements, and of requests that nodes
/// have no memory of.
void running_node::follow_fleet() {
  followers_.push_back(std::make_unique<store_follower>(
      context_->store, "nodes/",
      [this, fleet = context_->fleet, port = tcp_.get(),
       self = node_key(context_->node_id, "info")](const record& what,
                                                   bool erased) {
        fleet->apply(what, erased);
        const std::lock_guard guard{over_mutex_};
        if (erased && what.key == self && member_)
          member_->look_again();
        if (port && !node_of_key(what.key, "info").empty())
          port->keys_changed(); // one may be gone, and its key with it
      },
      [fleet = context_->fleet] { fleet->loaded(); }));
  followers_.push_back(std::make_unique<store_follower>(
      context_->store, "placements/",
      [fleet = context_->fleet](const record& what, bool erased) {
        fleet->apply(what, erased);
      }));
  if (publisher_)
    followers_.push_back(std::make_unique<store_follower>(
        context_->store, "requests/",
        [fleet = context_->fleet](const record& what, bool erased) {
          fleet->apply(what, erased);
        }));
}

/// A store of its own: the same records, of one node.
void running_node::stand_alone(const node_config& config) {
  const auto self = own_record(config);
  const auto key = node_key(self.id, "info");
  // Who asks it knows that it lives; a lease would say nothing more.
  context_->fleet->apply({node_key(self.id, "live"), self.version, 0}, false);
  const auto was = context_->store->get(key);
  if (!was || !*was || (*was)->value != encode(self)) {
    const auto said = context_->store->commit(
        {}, {{operation::kind::put, key, encode(self)}});
    if (!said) // a full disk is no reason not to start
      log_event("what this node is could not be written",
                {{"error", said.error().message}});
  }
  follow_fleet();
}

/// What other nodes do to the store, and that this one is there.
void running_node::join_fleet(const node_config& config) {
  followers_.push_back(std::make_unique<store_follower>(
      context_->store, "tokens/",
      [tokens = context_->tokens, revoked = context_->token_revoked,
       to = supervisor_](const record& what, bool erased) {
        const auto id = tokens->apply(what, erased);
        if (!id)
          return;
        if (revoked)
          revoked(*id);
        caf::anon_send(to, atom::revoke::value, *id);
      }));
  context_->fleet->on_liveness([to = entrypoint_](const std::string& id,
                                                  bool live) {
    log_event(live ? "a node is there" : "a node is silent", {{"node", id}});
    if (live)
      caf::anon_send(to, atom::ready::value, id);
  });
  follow_fleet();
  membership::options how;
  how.offers = [templates = templates_, ready = context_->pool_ready] {
    templates->close_idle();
    offers_record now;
    for (auto& each : templates->list())
      now.templates.insert(std::move(each));
    now.ready = ready->all();
    return encode(now);
  };
  how.removed = [this](const failure& why) { removed(why); };
  auto member = std::make_unique<membership>(
      context_->store, own_record(config), std::move(how),
      [exposer = exposer_](const std::optional<failure>& away) {
        exposer->store_up(!away);
        if (away)
          log_event("the store is away: sandboxes go on, none can be made",
                    {{"error", away->message}});
        else
          log_event("the store answers", {});
      });
  const std::lock_guard guard{over_mutex_};
  member_ = std::move(member);
  member_view_ = member_.get();
}

/// Nobody lets it in any more, and no sandbox of it has a place: they go, and
/// the daemon ends.
void running_node::removed(const failure& why) {
  {
    const std::lock_guard guard{over_mutex_};
    over_ = why;
  }
  log_event("this node was removed: its sandboxes are destroyed, and it ends",
            {{"error", why.message}});
  api::request end;
  end.id = make_uuid();
  end.caller = "fleet";
  end.admin = true;
  end.body = api::node_shutdown{true};
  caf::anon_send(entrypoint_, request_ptr{std::make_shared<const api::request>(
                                  std::move(end))});
}

void running_node::stop() {
  if (stopped_)
    return;
  stopped_ = true;
  // Nobody new first, then the actors, then what they stand on.
  if (gateway_)
    gateway_->stop();
  if (tcp_)
    tcp_->stop();
  if (port_)
    port_->stop();
  if (system_) {
    caf::anon_send(entrypoint_, atom::stop::value);
    caf::anon_send(supervisor_, atom::stop::value);
    entrypoint_ = entrypoint_actor{};
    supervisor_ = supervisor_actor{};
    if (publisher_) {
      // It still needs the workers. A store that is away is not waited for.
      constexpr auto patience = std::chrono::seconds(2);
      caf::scoped_actor here{*system_};
      here->request(std::exchange(publisher_, {}), patience, atom::stop::value)
          .receive([](bool) {}, [](const caf::error&) {});
    }
    if (context_) {
      caf::anon_send(context_->driver_workers, atom::stop::value);
      caf::anon_send(context_->records, atom::stop::value);
      caf::anon_send(context_->store_calls, atom::stop::value);
      if (templates_) {
        caf::anon_send(context_->templates_in, atom::stop::value);
        caf::anon_send(context_->templates_out, atom::stop::value);
      }
    }
    if (driver_) {
      driver_->on_exit(nullptr);
      driver_->on_oom(nullptr);
    }
    system_->await_all_actors_done();
  }
  if (peers_)
    peers_->stop();
  followers_.clear();
  keys_.reset();
  joins_.reset();
  member_view_ = nullptr;
  member_.reset();
  sink_->attach(nullptr);
  sink_->attach_tcp(nullptr);
  sink_->attach_gateway(nullptr);
  sink_->attach_home(nullptr);
  peers_.reset();
  gateway_.reset();
  port_.reset();
  context_.reset();
  agents_.reset();
  system_.reset();
  tcp_.reset(); // last: the table of keys calls it
}

} // namespace

result<std::unique_ptr<node>> node::start(const node_config& config,
                                          std::function<void()> request_stop) {
  auto made = std::make_unique<running_node>();
  if (auto done = made->begin(config, std::move(request_stop)); !done)
    return tl::unexpected<failure>(done.error());
  return std::unique_ptr<node>{std::move(made)};
}

} // namespace caged
