#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <caf/response_promise.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/agent_link.hpp"
#include "actors/metrics_stream.hpp"
#include "actors/node_context.hpp"
#include "messages/fwd.hpp"

namespace caged {

/// Told of every change of a sandbox. `failure` is set when an `up` that waits
/// for it has to end with that error.
struct sandbox_changed {
  sandbox_info info;
  bool gone = false;   ///< destroyed and freed: forget it
  bool ready = false;  ///< running, and its init script has ended
  bool made = false;   ///< the driver is through with its start
  bool parked = false; ///< a member of the pool that may be handed out
  std::optional<failure> error;
  std::string step;        ///< progress of its start, for who waits
  std::vector<cause> news; ///< recorded since the last message
};

} // namespace caged

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::sandbox_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::sandbox_record)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::exit_report)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(caged::api::get_reply)

namespace caged {

using sandbox_owner_actor = caf::typed_actor<caf::reacts_to<sandbox_changed>>;

/// One sandbox of this node, from its first resource to its last: the state
/// machine of DESIGN.md section 5. Extends link_owner_actor.
using sandbox_actor = caf::typed_actor<
    // Makes it when it is pending, takes it over when an earlier daemon made
    // it.
    caf::reacts_to<atom::start>,
    // A member of the pool becomes this sandbox; its owner is told as of a
    // start: ready, or gone with an error. The record's slot, process and agent
    // are the member's.
    caf::reacts_to<atom::assign, sandbox_record>,
    // From its link.
    caf::reacts_to<link_notice>,
    // From the driver: the init ended; the kernel killed for memory (count).
    caf::reacts_to<exit_report>, caf::reacts_to<atom::oom, std::uint64_t>,
    // An exec; refused with wrong_state where the state does not allow it.
    // Answers go to the client sink.
    caf::reacts_to<exec_call>,
    // A stream message of an exec's client; a client that is gone.
    caf::reacts_to<request_ptr>, caf::reacts_to<atom::gone, std::string>,
    // Frees everything; the text says who asks. Idempotent. Errors: of the
    // driver, journal or store; asking again tries again.
    caf::replies_to<atom::destroy, std::string>::with<bool>,
    // Freezes and thaws it; the text says who asks. False: it was so already.
    // Errors: wrong_state; of the driver and journal.
    caf::replies_to<atom::pause, std::string>::with<bool>,
    caf::replies_to<atom::resume, std::string>::with<bool>,
    // Its execs. Never fails; empty when it has no agent.
    caf::replies_to<atom::list>::with<api::ps_reply>,
    // A signal to an exec: reference, signal number. Gives the exec's id.
    // Errors: not_found, ambiguous, unavailable.
    caf::replies_to<atom::kill, std::string, int>::with<std::string>,
    // Ends the MCP server of this key.
    caf::reacts_to<atom::revoke, std::string>,
    // Timers: idleness, time to live.
    caf::reacts_to<atom::idle>, caf::reacts_to<atom::ttl>,
    // Fresh readings. Never fails.
    caf::replies_to<atom::get>::with<api::get_reply>,
    // Timers: the host's reading, the agent's deadline, the end of retention.
    caf::reacts_to<atom::tick>, caf::reacts_to<atom::expire, std::uint64_t>,
    // Ends the actor; the sandbox itself lives on.
    caf::reacts_to<atom::stop>>;

class sandbox_state {
public:
  using pointer = sandbox_actor::stateful_pointer<sandbox_state>;
  static constexpr const char* name = "sandbox";

  explicit sandbox_state(pointer hdl) : self{hdl} {}

  void start();
  void assign(const sandbox_record& as);
  void on_notice(const link_notice& notice);
  void on_exit(const exit_report& report);
  void on_oom(std::uint64_t kills);
  void exec(exec_call call);
  caf::result<bool> destroy(const std::string& who);
  caf::result<api::get_reply> get();
  caf::result<bool> pause(const std::string& who);
  caf::result<bool> resume(const std::string& who);
  caf::result<api::ps_reply> ps();
  caf::result<std::string> kill(const std::string& exec, int signal);
  void end(const std::string& who);
  void idle_over();
  void ttl_over();
  void tick();
  void deadline(std::uint64_t generation);
  void stop();
  void adopt(const sandbox_record& from, std::vector<exec_record> execs);

  pointer self;
  context_ptr context;
  sandbox_owner_actor owner;
  agent_link_actor link;
  metrics_stream_actor metrics;

private:
  using next = std::function<void(result<void>)>;

  launch_request launch() const;
  cause note(phase to, std::string who, std::string text);
  void change(phase to, std::string who, std::string text, next then);
  void record(const std::string& who, const std::string& text);
  void make();
  void made(const result<process_ref>& got);
  void recover();
  void watch_agent(const std::string& known_boot);
  bool is_member() const;
  void park();
  void handed_out();
  void fail_with(const std::string& who, const std::string& text,
                 std::optional<failure> for_client = {});
  void free_everything();
  void freed(const result<void>& done);
  void run_init_once();
  void tell(sandbox_changed what);
  void publish(std::string step = {});
  void retention();
  void refuse(const exec_call& call, const failure& why);
  void drive(std::function<void()> call);
  void driven();
  bool pause_now(const std::string& who, const std::string& text, next then);
  bool resume_now(const std::string& who, next then);
  caf::error refused_change(const std::string& rule) const;
  void paused_after_all(const failure& why);
  void freeze(bool again);
  void became_idle();
  void became_busy();
  void watch_idleness();
  void watch_ttl();
  std::chrono::milliseconds ttl_left() const;
  std::chrono::milliseconds retention_left() const;

  sandbox_record record_;
  std::vector<exec_record> execs_;
  cause last_;
  std::vector<caf::response_promise> destroyers_;
  /// Driver calls of one sandbox never overlap.
  std::deque<std::function<void()>> calls_;
  bool driving_ = false;
  std::uint64_t generation_ = 0; ///< of the deadline timer
  std::uint64_t oom_kills_ = 0;
  std::chrono::steady_clock::time_point last_noted_{};
  int unnoted_ = 0; ///< causes left out since then
  std::optional<failure> start_error_;
  std::chrono::steady_clock::time_point started_{};
  bool counted_ = false;     ///< its creation stands in the histogram
  bool written_ = false;     ///< that it runs is on disk: `up` may be answered
  std::vector<cause> news_;  ///< for the owner
  bool parked_ = false;      ///< in the pool, frozen
  bool handing_out_ = false; ///< thawed, its agent has no setup yet
  bool busy_ = false;        ///< it has execs, terminals or forwards
  bool idle_timer_ = false, ttl_timer_ = false; ///< one is under way
};

sandbox_actor::behavior_type sandbox(sandbox_state::pointer self,
                                     context_ptr context,
                                     sandbox_owner_actor owner,
                                     sandbox_record record,
                                     std::vector<exec_record> execs);

} // namespace caged
