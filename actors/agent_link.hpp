#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/exec_relay.hpp"
#include "actors/exec_replay.hpp"
#include "actors/metrics_stream.hpp"
#include "actors/node_context.hpp"
#include "messages/fwd.hpp"

namespace caged {

/// What a link tells its sandbox.
struct link_notice {
  enum class kind {
    up,        ///< the agent said hello and has its environment
    silent,    ///< three heartbeats are missing
    alive,     ///< and there is one again
    violation, ///< it broke the protocol or the socket is not its own
    init_done, ///< the init script ended
    busy,      ///< it has execs or forwards now
    idle,      ///< and now it has none
    trouble,   ///< the node's own: output could not be kept
    mcp_ended, ///< an MCP server inside ended
  };
  kind what = kind::up;
  std::string text;          ///< for `why`
  std::string boot, version; ///< up only
  int code = 0;              ///< init_done: exit code, 128+n for a signal
};

/// From the I/O thread.
struct link_event {
  std::uint64_t generation = 0; ///< of the connection; old ones are ignored
  bool opened = false, closed = false;
  std::optional<agent_protocol::line> message;
  std::optional<failure> error;
};

struct link_summary {
  bool connected = false;
  int execs = 0;
  std::int64_t last_heartbeat_ms = 0; ///< wall clock; 0: none yet
};

/// Where execs of an earlier daemon are known from.
struct link_target {
  agent_address address;
  std::string known_boot; ///< empty: any
  std::vector<exec_record> execs;
  bool paused = false; ///< frozen: it is dialled when it is resumed
};

/// What an agent is told of its sandbox with every hello.
struct agent_setup {
  std::map<std::string, std::string> env; ///< of every exec; never logged
  unsigned cpus = 0;
  std::uint64_t memory_mb = 0;
  explicit agent_setup(const sandbox_spec& of)
      : env{of.env}, cpus{of.cpus}, memory_mb{of.memory_mb} {}
};

/// Its sandbox was thawed for a tenant: the agent is told the tenant's setup,
/// and `up` is the answer.
struct link_assigned {
  agent_setup setup;
  metrics_stream_actor metrics;
};

/// Told when an exec's stream is over: route, request id.
using stream_table_actor =
    caf::typed_actor<caf::reacts_to<atom::ended, std::string, std::string>>;

/// An exec on its way to the agent.
struct exec_call {
  request_ptr request;
  std::string workdir; ///< of the sandbox, where the request names none
  stream_table_actor table;
  bool resume = false; ///< a paused sandbox is resumed first
  /// Its sandbox is paused: so it is refused, unless it is a client that comes
  /// back to an exec; that one waits.
  std::optional<failure> refusal;
};

} // namespace caged

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::link_notice)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::link_event)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::link_summary)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::link_target)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::link_assigned)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::exec_call)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::api::ps_reply)

namespace caged {

using link_owner_actor = caf::typed_actor<caf::reacts_to<link_notice>>;

/// The channel to one sandbox's agent: dials and redials, watches heartbeats,
/// carries execs. Everything the agent says is checked here.
using agent_link_actor = caf::typed_actor<
    // Dials, and keeps on dialling until stop or fail.
    caf::reacts_to<atom::dial, link_target>,
    // From the I/O thread.
    caf::reacts_to<link_event>,
    // Starts an exec or attaches to it. Answers go to the client sink:
    // exec_started or error_reply. Its table is told `ended`.
    caf::reacts_to<exec_call>,
    // A stream message of an attached client.
    caf::reacts_to<request_ptr>,
    // The client behind a route is gone: its execs live for reattach_grace.
    caf::reacts_to<atom::gone, std::string>,
    // Its sandbox is frozen: nothing is expected of the agent until resume.
    caf::reacts_to<atom::pause>, caf::reacts_to<atom::resume>,
    caf::reacts_to<link_assigned>,
    caf::replies_to<atom::list>::with<api::ps_reply>,
    caf::replies_to<atom::kill, std::string, int>::with<std::string>,
    // Ends the MCP server of this key, when there is one. Timer: its dial.
    caf::reacts_to<atom::revoke, std::string>,
    caf::reacts_to<atom::mcp, std::string>,
    // Runs the init script, its output goes to exec_logs.
    caf::reacts_to<atom::inject, std::string>,
    // Ends every stream with this error, hangs up and dials no more.
    caf::reacts_to<atom::fail, failure>,
    // Timers: redial, the watchdog, a request's deadline, an exec's grace.
    caf::reacts_to<atom::dial, std::uint64_t>, caf::reacts_to<atom::beat>,
    caf::reacts_to<atom::expire, std::uint64_t>,
    caf::reacts_to<atom::ended, std::string>,
    caf::replies_to<atom::get>::with<link_summary>, caf::reacts_to<atom::stop>>;

/// What the journal knows of an exec.
api::exec_info info_of(const exec_record& row);

class agent_link_state {
public:
  using pointer = agent_link_actor::stateful_pointer<agent_link_state>;
  static constexpr const char* name = "agent_link";

  explicit agent_link_state(pointer hdl) : self{hdl} {}
  ~agent_link_state();

  void dial(const link_target& target);
  void redial(std::uint64_t wanted);
  void on_event(link_event& event);
  void exec(const exec_call& call);
  void stream(const request_ptr& request);
  void client_gone(const std::string& route);
  void run_init(const std::string& script);
  void fail_all(const failure& why);
  void watchdog();
  void call_expired(std::uint64_t id);
  void pause();
  void resume();
  void assign(const link_assigned& to);
  api::ps_reply list() const;
  caf::result<std::string> kill(const std::string& exec, int signal);
  void grace_over(const std::string& exec);
  void revoke(const std::string& key);
  void try_mcp(const std::string& request_id);
  link_summary summary() const;
  void hang_up();

  pointer self;
  context_ptr context;
  std::string id;
  std::optional<agent_setup> setup;
  link_owner_actor owner;
  metrics_stream_actor metrics;

private:
  using answer = std::function<void(result<nlohmann::json>)>;
  struct entry {
    explicit entry(exec_relay with) : relay{std::move(with)} {}
    exec_relay relay;
    stream_table_actor table; ///< told when it is over; may be invalid
    exec_record row;          ///< what the journal has of it
    bool is_init = false;
    std::chrono::steady_clock::time_point asked{};
    std::int64_t pid = 0;                    ///< inside; 0: not told yet
    std::optional<exec_replay> replay;       ///< of an attached, detached one
    std::optional<api::exec_exit> kept_exit; ///< a detached one that ended
  };

  /// Waits until the sandbox is resumed, or, with a timer, for the link.
  struct held_call {
    exec_call call;
    std::uint64_t timer = 0; ///< an id of next_id_; 0: none
  };

  /// A dial to an MCP server that may have to be started first.
  struct mcp_dial {
    api::mcp_target target;
    std::string workdir;
    nlohmann::json payload; ///< of the agent's dial
    std::chrono::steady_clock::time_point until;
    std::chrono::milliseconds wait{4};
    int starts = 0;
    std::string server = {}; ///< exec that it started
  };

  void connect();
  void watch();
  void say_hello();
  void on_hello(const nlohmann::json& payload);
  nlohmann::json resumed(bool thawed) const;
  void on_line(agent_protocol::line message);
  void on_stream_line(agent_protocol::line& message);
  void on_metrics(const nlohmann::json& payload);
  void on_agent_error(const nlohmann::json& payload);
  void lost(const failure& why);
  void violation(const std::string& text);
  bool spend_budget();
  void resume_execs(const nlohmann::json& listed);
  void attach(entry& to, nlohmann::json payload);
  void apply(entry& to, exec_relay::output&& out);
  void finish(const std::string& exec);
  void end_with(const std::string& exec, const failure& why);
  void grace(const std::string& exec);
  void call(const char* type, const nlohmann::json& payload, answer done,
            std::string_view raw = {});
  void reply(const entry& to, api::reply_body body);
  void notify(link_notice notice);
  void start_init_exec();
  entry& add(exec_record row, stream_table_actor table);
  void write_row(const entry& of);
  void start(const exec_call& call, const api::exec& what);
  void begin(const std::string& exec_id, const nlohmann::json& payload);
  void start_dial(const exec_call& call, const api::dial& what);
  void dial_mcp(const exec_call& call, const api::mcp_target& to,
                const nlohmann::json& payload);
  std::string start_mcp(const api::mcp_target& of, const std::string& workdir);
  void refuse_mcp(const std::string& request_id, const std::string& why);
  entry* mcp_server(const std::string& key);
  void reattach(entry& known, const exec_call& call, const api::exec& what);
  void refuse(const exec_call& call, failure why);
  void let_go(entry& of);
  void keep_output(entry& of);
  void pump(entry& to);
  void settle(entry& ended);
  void end_dials(const failure& why);
  bool comes_back(const api::request& request) const;
  void hold(const exec_call& call, std::uint64_t timer);
  failure not_connected() const;
  void let_back();
  void drop_oldest_exited();
  void count_activity();
  std::size_t running_execs() const;
  std::chrono::steady_clock::time_point now() const;

  agent_address address_;
  std::shared_ptr<agent_channel> channel_;
  std::uint64_t generation_ = 0;
  bool wanted_ = false;    ///< dial and redial
  bool connected_ = false; ///< hello was answered
  bool watching_ = false;
  bool silent_ = false;
  bool paused_ = false;
  bool busy_ = false; ///< as the owner was told
  std::string boot_;
  std::chrono::milliseconds backoff_{2};
  int strikes_ = 0;
  std::chrono::steady_clock::time_point last_beat_{}, budget_start_{};
  std::int64_t last_beat_wall_ = 0;
  int budget_ = 0;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, answer> calls_;
  std::map<std::string, entry> execs_;
  std::vector<exec_record> known_;
  std::vector<held_call> held_;
  std::map<std::string, mcp_dial> mcp_dials_; ///< by request id
  std::string init_script_;
};

agent_link_actor::behavior_type agent_link(agent_link_state::pointer self,
                                           context_ptr context, std::string id,
                                           agent_setup setup,
                                           link_owner_actor owner,
                                           metrics_stream_actor metrics);

} // namespace caged
