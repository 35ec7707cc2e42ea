#include "cli/mcp.hpp"

#include <filesystem>
#include <iostream>

#include <nlohmann/json.hpp>

#include "cli/endpoint.hpp"
#include "cli/exec.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

constexpr auto destroy_deadline = std::chrono::minutes(2);
constexpr int no_such_program = 127; // as a shell says it

result<int> serve(const common_options& with, const mcp_options& what) {
  api::exec run;
  run.sandbox = what.sandbox;
  run.argv = mcp_command(what);
  run.wants_stdin = true;
  run.resume = true;
  auto code = run_exec(with.endpoint, std::move(run));
  if (code && *code == no_such_program)
    return fail(ec::unsupported,
                "sandbox " + caged::quoted(what.sandbox) + " has no "
                    + std::string{mcp_server_inside},
                "install caged-mcp-server beside caged-agent on its node "
                "(caged-node --agent-dir)");
  return code;
}

/// Flags of `caged mcp` that give the same session.
nlohmann::json session_arguments(const mcp_options& what) {
  auto args = nlohmann::json::array({"mcp"});
  if (!what.sandbox.empty()) {
    args.push_back(what.sandbox);
  } else {
    args.push_back("--template");
    args.push_back(what.template_name);
  }
  if (!what.workspace.empty()) {
    args.push_back("--workspace");
    args.push_back(what.workspace);
  }
  if (what.read_only)
    args.push_back("--read-only");
  return args;
}

} // namespace

std::vector<std::string> mcp_command(const mcp_options& what) {
  std::vector<std::string> argv = {
      mcp_server_inside, "--mode", "stdio", "--workspace",
      what.workspace.empty() ? "." : what.workspace};
  if (what.read_only)
    argv.emplace_back("--read-only");
  return argv;
}

result<int> run_mcp(const common_options& with, mcp_options what) {
  if (!what.sandbox.empty())
    return serve(with, what);
  up_options fresh;
  fresh.spec.template_name = what.template_name;
  fresh.network = to_string(fresh.spec.network);
  auto made = make_sandbox(with, std::move(fresh));
  if (!made)
    return tl::unexpected<failure>(made.error());
  std::cerr << "caged: this session has sandbox " << escape_text(made->id)
            << " to itself; it is destroyed at the end\n";
  what.sandbox = made->id;
  auto code = serve(with, what);
  auto gone = ask<api::destroy_reply>(with.endpoint, api::destroy{made->id},
                                      destroy_deadline);
  if (code && !gone)
    return tl::unexpected<failure>(gone.error());
  return code;
}

result<int> run_mcp_config(const common_options& with,
                           const mcp_config_options& what) {
  std::error_code ignored;
  auto self = std::filesystem::read_symlink("/proc/self/exe", ignored).string();
  nlohmann::json server = {
      {"command", self.empty() ? "caged" : self},
      {"args", session_arguments(what.session)},
  };
  if (with.endpoint.text() != default_endpoint)
    server["env"] = {{"CAGED_ENDPOINT", with.endpoint.text()}};
  if (auto keys = with.endpoint.server_keys(); !keys.empty()) {
    server["env"]["CAGED_SERVER_KEY"] = keys;
    server["env"]["CAGED_KEY"] = with.endpoint.key_path;
  }
  if (what.client == "claude")
    server["type"] = "stdio";
  const nlohmann::json config = {{"mcpServers", {{"caged", server}}}};
  std::cout << config.dump(2) << "\n";
  std::cerr << (what.client == "claude"
                    ? "put it into .mcp.json of your project (Claude Code), or "
                      "into claude_desktop_config.json (Claude Desktop)\n"
                    : "put it into .cursor/mcp.json of your project, or into "
                      "~/.cursor/mcp.json\n");
  return 0;
}

} // namespace caged::cli
