#include "actors/agent_link.hpp"

#include <algorithm>

#include "actors/mcp_server.hpp"
#include "messages/text.hpp"

// MCP servers inside: started when somebody dials one, dialled again until it
// listens, ended when its token is revoked.
namespace caged {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

/// From the first try until the client is told; a start takes a few
/// milliseconds on an idle host.
constexpr auto start_patience = 10s;
constexpr auto first_wait = 4ms;
constexpr auto longest_wait = 100ms;
/// One may end just when it is dialled (it was idle); twice is an error.
constexpr int most_starts = 2;
constexpr int no_such_program = 127; // as a shell says it

} // namespace

agent_link_state::entry* agent_link_state::mcp_server(const std::string& key) {
  const auto caller = mcp_server::caller_of(key);
  for (auto& [_, item] : execs_)
    if (item.row.caller == caller && item.row.detached && !item.kept_exit
        && !item.relay.has_exited())
      return &item;
  return nullptr;
}

std::string agent_link_state::start_mcp(const api::mcp_target& of,
                                        const std::string& workdir) {
  api::exec what;
  what.argv = mcp_server::command(of);
  what.detach = true;
  // Those of the sandbox's environment are for servers that listen elsewhere.
  for (const auto* variable :
       {"CAGED_MCP_HOST", "CAGED_MCP_PORT", "CAGED_MCP_TOKEN_FILE"})
    what.env[variable] = "";
  exec_record row;
  row.exec = make_uuid();
  row.sandbox = id;
  row.caller = mcp_server::caller_of(of.key);
  row.started_ms = wall_clock_ms();
  row.detached = true;
  for (const auto& arg : what.argv)
    row.command += (row.command.empty() ? "" : " ") + arg;
  drop_oldest_exited();
  auto& fresh = add(std::move(row), stream_table_actor{});
  const auto payload = fresh.relay.start(what, workdir, {});
  // As every detached exec: a restarted daemon must know it.
  offload(
      self, context->records,
      [journal = context->journal, kept = fresh.row]() -> result<void> {
        return journal->put_exec(kept);
      },
      [this, exec_id = fresh.row.exec, payload](const result<void>& written) {
        if (written)
          begin(exec_id, payload);
        else
          end_with(exec_id, written.error());
      });
  return fresh.row.exec;
}

void agent_link_state::dial_mcp(const exec_call& call_info,
                                const api::mcp_target& to,
                                const json& payload) {
  const auto& id_of_dial = call_info.request->id;
  mcp_dials_[id_of_dial] = {to, call_info.workdir, payload,
                            now() + start_patience};
  try_mcp(id_of_dial);
}

void agent_link_state::try_mcp(const std::string& request_id) {
  auto found = mcp_dials_.find(request_id);
  if (found == mcp_dials_.end())
    return;
  if (execs_.count(request_id) == 0) { // its client left, or the link did
    mcp_dials_.erase(found);
    return;
  }
  auto& waiting = found->second;
  const auto* server = mcp_server(waiting.target.key);
  if (!server) {
    if (waiting.starts == most_starts)
      return refuse_mcp(request_id, "it ended as soon as it was started");
    ++waiting.starts;
    waiting.wait = first_wait;
    waiting.server = start_mcp(waiting.target, waiting.workdir);
    self->delayed_send(self, waiting.wait, atom::mcp::value, request_id);
    return;
  }
  call("dial", waiting.payload, [this, request_id](result<json> got) {
    auto dialled = mcp_dials_.find(request_id);
    auto stream = execs_.find(request_id);
    if (dialled == mcp_dials_.end() || stream == execs_.end()) {
      mcp_dials_.erase(request_id);
      return;
    }
    if (got) {
      mcp_dials_.erase(dialled);
      apply(stream->second, stream->second.relay.started(*got, id, false));
      return;
    }
    auto& again = dialled->second;
    if (got.error().code != ec::io) {
      mcp_dials_.erase(dialled);
      return end_with(request_id, got.error());
    }
    if (now() >= again.until)
      return refuse_mcp(request_id, "it does not listen within "
                                        + format_duration(start_patience));
    self->delayed_send(self, again.wait, atom::mcp::value, request_id);
    again.wait =
        std::min<std::chrono::milliseconds>(again.wait * 2, longest_wait);
  });
}

/// With how the server that it started has ended, where that is known.
void agent_link_state::refuse_mcp(const std::string& request_id,
                                  const std::string& why) {
  auto waiting = mcp_dials_.extract(request_id);
  const auto server = execs_.find(waiting.mapped().server);
  failure out{ec::unavailable, "the MCP server of " + id + ": " + why,
              "caged ps " + id + " shows it, caged attach its log"};
  if (server != execs_.end() && server->second.kept_exit) {
    const auto& how = *server->second.kept_exit;
    if (how.code == no_such_program)
      out = {ec::unsupported, id + " has no caged-mcp-server",
             "install it beside caged-agent on the node (--agent-dir)"};
    else
      out.message += " (exit code " + std::to_string(how.code) + ", signal "
                     + std::to_string(how.signal) + ")";
  }
  end_with(request_id, out);
}

void agent_link_state::revoke(const std::string& key) {
  if (const auto* server = mcp_server(key))
    call("signal", {{"exec", server->row.exec}, {"signal", 15}},
         [](const result<json>&) {}); // it ended by itself
}

} // namespace caged
