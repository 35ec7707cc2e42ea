#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "messages/error.hpp"
#include "messages/samples.hpp"
#include "messages/sandbox.hpp"

/// The verbs of clients and peers as plain structs. proto/caged.proto is the
/// wire form, client_api_wire.cpp the only bridge between the two.
namespace caged::api {

inline constexpr int protocol_version = 1;

// -- requests, one per verb -------------------------------------------------

/// Says who speaks; answered by hello_reply. Not needed before other verbs.
struct hello {
  std::string client; ///< "caged/0.1.0"
};

/// Creates a sandbox. Answered by up_progress (any number), then up_reply when
/// its agent answers. Keyed by (caller, request id): a repeat gets the first
/// answer, the same id with another body is conflict.
struct up {
  sandbox_spec spec;
  std::string node = {}; ///< name or id of the only one that will do
  /// Labels that its node must have; limits as those of a sandbox.
  std::map<std::string, std::string> require = {};
};

struct list {
  bool all_owners = false; ///< admins only
  bool destroyed = false;  ///< also those whose history is still kept
  std::map<std::string, std::string> labels; ///< all must match
};

struct get {
  std::string sandbox; ///< reference: id, name or unique prefix
};

/// Ends in exec_exit; exec_started comes first. The request id is the exec's
/// and the stream's name. A repeat re-attaches at the offsets it names.
struct exec {
  std::string sandbox;
  std::vector<std::string> argv; ///< empty with login
  bool login = false;            ///< the user's login shell
  std::string cwd;               ///< empty: the sandbox's workdir
  std::map<std::string, std::string> env;
  std::string user;
  bool tty = false;
  std::uint16_t rows = 24, cols = 80;
  bool wants_stdin = false;
  std::chrono::milliseconds timeout{0};                 ///< 0: none
  std::uint64_t stdout_offset = 0, stderr_offset = 0;   ///< re-attach from here
  std::uint64_t stdout_credit = limits::window_default; ///< absolute limits
  std::uint64_t stderr_credit = limits::window_default;
  /// The node is the receiver of its output, a bounded log that an attachment
  /// replays; answered by exec_started alone.
  bool detach = false;
  /// The request id names an exec that exists; argv is not looked at. Error:
  /// not_found.
  bool attach_only = false;
  bool resume = false; ///< resumes the sandbox first when it is paused
};

/// Freezes a sandbox: it uses no cpu and refuses execs. Idempotent.
struct pause {
  std::string sandbox;
};

/// Thaws it. Idempotent.
struct resume {
  std::string sandbox;
};

/// The execs of a sandbox, those that have ended and wait to be collected too.
struct ps {
  std::string sandbox;
};

/// A signal to an exec's process group.
struct kill {
  std::string sandbox;
  std::string exec; ///< id or unique prefix
  int signal = 15;
};

/// Recorded transitions, oldest first. Answered by events_reply until one has
/// last set; with follow that is never.
struct events {
  std::string sandbox; ///< empty: all that the caller may see
  bool follow = false;
  std::int64_t since_ms = 0; ///< wall clock; 0: all that is kept
};

/// The MCP server of one key in a sandbox: started inside when there is none,
/// and by itself gone when it was idle for limits::mcp_idle_exit.
struct mcp_target {
  std::string key; ///< of [a-z0-9-], at most limits::name_max: the token's id
  bool read_only = false;
  /// It serves one session and ends with it, and its sandbox with it.
  bool one_session = false;
};

/// A connection to a TCP port inside, or to an MCP server. Answered by
/// exec_started, then a stream named by the request id: channel in goes to the
/// port, out comes from it; exec_exit ends it.
struct dial {
  std::string sandbox;
  std::uint16_t port = 0; ///< 0 with mcp
  std::uint64_t credit = limits::window_default;
  bool resume = false;
  std::optional<mcp_target> mcp = {};
};

/// What a token lets its bearer do at the gateway.
enum class token_scope : std::uint8_t { mcp = 1, read = 2 };
std::string_view to_string(token_scope value) noexcept; ///< "mcp", "read"
std::optional<token_scope> token_scope_from(std::string_view name) noexcept;

/// Makes a token for one sandbox or for one template: then each session has a
/// sandbox of its own. Answered by token_reply. Errors: not_found (the sandbox,
/// the template), too_large (limits::tokens_most).
struct token_create {
  std::string sandbox; ///< reference; or
  std::string template_name;
  token_scope scope = token_scope::mcp;
  std::chrono::milliseconds ttl = limits::token_ttl_default;
};

/// Those that the caller may see and that have not expired.
struct token_list {};

/// From now on nobody is let in with it, and its sessions end.
struct token_revoke {
  std::string token; ///< its id
};

/// What the bearer of a key may do; actors/permissions.hpp has the verbs.
enum class role : std::uint8_t { admin = 1, user = 2, viewer = 3 };
std::string_view to_string(role value) noexcept; ///< "admin", ...
std::optional<role> role_from(std::string_view name) noexcept;

/// From now on the bearer of this key is let in over tcp; one that is known
/// already gets the role and the name. Admins only, as the two below. Errors:
/// conflict (the name is another key's), too_large (limits::keys_most).
struct key_authorize {
  std::string key; ///< public, Z85
  std::string name;
  role as = role::viewer;
  bool shared = false; ///< the name may be another key's: one more of theirs
};

/// From now on nobody is let in with it, and its connections are refused.
struct key_revoke {
  std::string key; ///< public, Z85; or a name: all its keys
};

struct key_list {};

/// From nodes alone: the client of theirs that asked for what bears this hop is
/// gone. Never answered.
struct client_gone {};

struct destroy {
  std::string sandbox;
};

/// Answered by log_chunk until one has last set.
struct logs {
  std::string sandbox;
  /// "agent" or "init" (the init script's output).
  std::string source = "init";
};

struct why {
  std::string sandbox; ///< also a destroyed one, for 7 days
};

struct node_status {};
struct node_audit {
  bool fix = false; ///< frees orphans; admins only
};

struct node_shutdown {
  bool destroy_all = false; ///< destroys every sandbox first
};

/// The nodes of the fleet as this one last saw it.
struct node_list {};

/// Errors of these three: not_found, ambiguous (several of that name).
struct node_get {
  std::string node; ///< id or name
};

/// From now on it takes no new sandboxes (or it does again); those that it has
/// go on. Idempotent. Admins only, as the next. Answered by node_reply.
struct node_cordon {
  std::string node;
  bool on = true;
};

/// Forgets a node that is silent. Error: wrong_state (it is live; sandboxes are
/// placed there).
struct node_remove {
  std::string node;
  /// Its sandboxes are forgotten with it: placements, names and requests.
  bool force = false;
};

/// Makes a token with which one more host joins the fleet, once. Admins only.
/// Answered by node_token_reply. Errors: unsupported (the node's store is its
/// own, or it does not listen), of the store.
struct node_token_create {
  std::chrono::milliseconds ttl = std::chrono::hours(1);
};

/// The bearer of such a token, on whose key the request came, wants to be a
/// node. Answered by join_reply. Errors: denied (the token was used or has
/// expired), conflict (the name is another node's), unsupported.
struct join {
  std::string node;       ///< id, as in its data directory
  std::string name;       ///< for people; may be empty: the id
  std::string public_key; ///< of the node that will be, Z85
  std::string version;
  std::string cluster; ///< the one that the token is of, a UUID
};

/// A piece of a template, which goes to a node that lacks it as one archive.
/// Nodes and admins only. Answered by template_chunk. Errors: not_found,
/// conflict (the archive is another than that of this digest by now), io.
struct template_read {
  std::string template_name;
  /// SHA-256 of the archive, hexadecimal; empty: asks which it is.
  std::string digest;
  std::uint64_t offset = 0;
};

// -- streams, both directions; they carry the request id of their exec ------

enum class channel : std::uint8_t { in = 0, out = 1, err = 2, exit = 3 };
std::string_view to_string(channel value) noexcept; ///< "stdin", ...
std::optional<channel> channel_from_string(std::string_view name) noexcept;

struct stream_data {
  channel on = channel::out;
  std::uint64_t offset = 0;
  std::string bytes; ///< at most limits::frame_max
};

/// Everything below offset is safe with the receiver. channel::exit: the exit
/// was received, the exec may be forgotten.
struct stream_ack {
  channel on = channel::out;
  std::uint64_t offset = 0;
};

/// The sender may send bytes below limit. Absolute.
struct stream_credit {
  channel on = channel::out;
  std::uint64_t limit = 0;
};

struct stream_eof {
  channel on = channel::out;
  std::uint64_t offset = 0;
};

/// Client to node.
struct exec_signal {
  int number = 0;
};

/// Client to node.
struct exec_resize {
  std::uint16_t rows = 24, cols = 80;
};

// -- answers ----------------------------------------------------------------

struct hello_reply {
  int protocol = protocol_version;
  std::string version;
  std::string node;
  std::string caller; ///< as the node sees the client: "uid:0", "key:alice"
};

struct up_progress {
  std::string step; ///< "reserved", "starting", "waiting for its agent"
};

struct up_reply {
  sandbox_info sandbox;
};

struct list_reply {
  std::vector<sandbox_info> sandboxes;
  /// Why it may be old, in a sentence; empty: it is not.
  std::string notice = {};
};

struct get_reply {
  sandbox_info sandbox;
  std::optional<host_stats> stats;      ///< absent when it has no processes
  std::optional<agent_metrics> metrics; ///< absent before the first sample
  int execs = 0;                        ///< running now
};

struct exec_started {
  std::string sandbox;  ///< id
  std::int64_t pid = 0; ///< inside the sandbox
  bool created = true;  ///< false: attached to an existing one
};

struct exec_exit {
  int code = -1;      ///< -1 when ended by a signal
  int signal = 0;     ///< 0 when it exited by itself
  std::string reason; ///< "exited", "signaled", "timeout", "shutdown", ...
};

struct destroy_reply {
  std::string id;
  bool was_there = true; ///< false: it was destroyed before
};

struct log_chunk {
  std::string bytes;
  bool last = false;
};

struct why_reply {
  std::string id;
  std::vector<cause> causes; ///< oldest first
};

struct pool_status {
  std::string template_name;
  std::uint32_t size = 0;  ///< as configured
  std::uint32_t ready = 0; ///< booted, frozen, to be had at once
};

struct node_status_reply {
  std::string node;
  std::string version;
  std::int64_t started_ms = 0;
  std::string runtime; ///< "oci (crun 1.8.1)"
  std::string cgroups; ///< "v1", "hybrid", "v2"
  std::string store;   ///< "sqlite"
  unsigned cpus_total = 0, cpus_reserved = 0;
  std::uint64_t memory_mb_total = 0, memory_mb_reserved = 0;
  std::uint64_t disk_gb_total = 0, disk_gb_reserved = 0;
  std::map<std::string, std::uint32_t> by_state; ///< sandboxes
  std::vector<pool_status> pools;
  std::string listen;     ///< "tcp://10.0.0.1:7400"; empty: ipc:// alone
  std::string public_key; ///< of the node there, Z85
};

/// A node as the one that was asked last saw it.
struct node_info {
  std::string id;
  std::string name;
  std::string version;
  std::string address;    ///< "tcp://10.0.0.1:7400"; empty: ipc:// alone
  std::string public_key; ///< of the node there, Z85
  std::string metrics;    ///< "10.0.0.1:9464"; empty: unknown
  std::string runtime;    ///< "oci"
  std::vector<std::string> networks;
  std::map<std::string, std::string> labels;
  bool live = false; ///< false: it is silent
  bool cordoned = false;
  std::string cordoned_by; ///< who wanted that
  unsigned cpus_total = 0, cpus_reserved = 0;
  std::uint64_t memory_mb_total = 0, memory_mb_reserved = 0;
  std::uint64_t disk_gb_total = 0, disk_gb_reserved = 0;
  std::uint32_t sandboxes = 0;        ///< placed there
  bool self = false;                  ///< it is the one that answers
  std::vector<std::string> templates; ///< that it has
};

struct audit_row {
  std::string kind; ///< of the resource: "cgroup", "loop", ...
  std::string name;
  std::string sandbox; ///< empty when unknown
  /// "owned"; "orphan": in the kernel, in no lease; "missing": leased by a
  /// live sandbox, not in the kernel; "freed": was an orphan.
  std::string verdict;
};

struct audit_reply {
  std::vector<audit_row> rows;
};

struct state_reply {
  sandbox_info sandbox;
  bool changed = true; ///< false: it was in that state already
};

struct exec_info {
  std::string exec;    ///< its request id
  std::string command; ///< shortened, control characters escaped
  std::string caller;
  std::int64_t started_ms = 0; ///< wall clock
  std::int64_t pid = 0;        ///< inside the sandbox; 0: not known yet
  bool tty = false;
  bool attached = false; ///< somebody reads it now
  bool detached = false; ///< the node keeps its output
  bool exited = false;
  int code = -1;
  int signal = 0;
};

struct ps_reply {
  std::string id;
  std::vector<exec_info> execs; ///< oldest first
};

struct kill_reply {
  std::string exec;
};

struct event {
  std::string sandbox; ///< id
  std::string name;
  cause what;
};

struct events_reply {
  std::vector<event> events;
  bool last = false;
};

struct shutdown_reply {
  std::uint32_t destroyed = 0;
};

struct token_info {
  std::string id; ///< "tok-abc12345": no secret
  std::string owner;
  std::string sandbox; ///< id; or
  std::string template_name;
  token_scope scope = token_scope::mcp;
  std::int64_t created_ms = 0, expires_ms = 0; ///< wall clock
};

struct token_reply {
  token_info info;
  std::string secret; ///< the bearer token; nobody is ever told it again
  std::string url;    ///< of its MCP endpoint; empty: the node has no gateway
};

struct token_list_reply {
  std::vector<token_info> tokens; ///< oldest first
};

struct token_revoke_reply {
  std::string token;
};

struct key_info {
  std::string key; ///< public, Z85
  std::string name;
  role as = role::viewer;
  std::int64_t created_ms = 0; ///< wall clock
};

struct key_reply {
  key_info info;
  bool created = true; ///< false: it was known, and is so from now on
};

struct key_list_reply {
  std::vector<key_info> keys; ///< oldest first
};

struct key_revoke_reply {
  std::vector<key_info> keys;
};

struct node_list_reply {
  std::vector<node_info> nodes; ///< by name
  std::string notice = {};      ///< as list_reply's
};

/// Of node_get and node_cordon.
struct node_reply {
  node_info node;
  bool changed = false; ///< of node_cordon: it was not so before
};

struct node_remove_reply {
  std::string id;
  std::string name;
  std::uint32_t sandboxes = 0; ///< forgotten with it
};

/// Whether whoever asked under this hop is still there: a node that knows
/// nothing of it says client_gone. Clients get an empty envelope instead.
struct probe {};

struct node_token_reply {
  std::string token;           ///< one line; nobody is ever told it again
  std::int64_t expires_ms = 0; ///< wall clock
  std::string address;         ///< where it is used: "tcp://10.0.0.1:7400"
};

/// How nodes get at the store that they share. Secret.
struct store_access {
  std::string url;                  ///< "etcds://a:2379,b:2379/fleet"
  std::string ca, certificate, key; ///< PEM; each may be empty
  std::string user, password;       ///< both or none
};

struct join_reply {
  std::string cluster; ///< its id
  std::string node;    ///< name of the one that answers
  store_access store;
};

struct template_chunk {
  std::string digest;     ///< SHA-256 of the whole archive, hexadecimal
  std::uint64_t size = 0; ///< of it
  std::uint64_t offset = 0;
  std::string bytes; ///< limits::frame_max of them, but for the end; none when
                     ///< no digest was given
  std::string bytes_digest; ///< SHA-256 of them
};

/// Ends a request. Error codes as messages/error.hpp.
struct error_reply {
  failure why;
  std::string sandbox;
  std::string node;
};

using request_body =
    std::variant<hello, up, list, get, exec, destroy, logs, why, node_status,
                 node_audit, node_shutdown, stream_data, stream_ack,
                 stream_credit, stream_eof, exec_signal, exec_resize, pause,
                 resume, ps, kill, events, dial, token_create, token_list,
                 token_revoke, key_authorize, key_revoke, key_list, client_gone,
                 node_list, node_get, node_cordon, node_remove,
                 node_token_create, join, template_read>;

using reply_body = std::variant<
    hello_reply, up_progress, up_reply, list_reply, get_reply, exec_started,
    destroy_reply, log_chunk, why_reply, node_status_reply, audit_reply,
    shutdown_reply, error_reply, exec_exit, stream_data, stream_ack,
    stream_credit, stream_eof, state_reply, ps_reply, kill_reply, events_reply,
    token_reply, token_list_reply, token_revoke_reply, key_reply,
    key_list_reply, key_revoke_reply, node_list_reply, node_reply,
    node_remove_reply, probe, node_token_reply, join_reply, template_chunk>;

/// One message from a client, decoded and authenticated.
struct request {
  std::string route; ///< where answers go: the transport's, opaque
  std::string id;    ///< UUID text, made by the client
  /// "uid:1000", "key:alice"; set by the transport, never the client.
  std::string caller;
  bool admin = false; ///< may see and touch every owner's sandboxes
  std::chrono::milliseconds remaining{0}; ///< until its deadline; 0: none
  std::uint64_t digest = 0; ///< of the body, to tell repeats from conflicts
  request_body body;
  bool viewer = false; ///< may see every owner's sandboxes and change none
  /// Its key is a join token's: caller is "join:" and the key in URL form.
  bool joiner = false;
  /// Another node passed it on, and has authorised it; 0: a client's own.
  /// Nonzero is that node's number of the request.
  std::uint64_t hop = 0;
  std::string from = {}; ///< the sender's address, for logs; may be empty
};

/// The id of an answer that belongs to no request but to the connection: an
/// error_reply, and nothing that is asked over it will be done.
inline constexpr const char* connection_id =
    "00000000-0000-0000-0000-000000000000";

/// One message to a client.
struct reply {
  std::string route;
  std::string id;
  reply_body body;
  std::uint64_t hop = 0; ///< of the request that it answers
};

/// Name of a request's verb for metrics and logs: "up", "exec", "data", ...
std::string_view verb_of(const request_body& body) noexcept;

} // namespace caged::api
