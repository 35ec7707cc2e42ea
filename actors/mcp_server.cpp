#include "actors/mcp_server.hpp"

namespace caged::mcp_server {

namespace {

constexpr const char* program = "/usr/lib/caged/caged-mcp-server";
constexpr std::string_view caller_prefix = "mcp:";

} // namespace

std::string socket_path(const std::string& key) {
  return "/run/caged-mcp/" + key + ".sock";
}

std::vector<std::string> command(const api::mcp_target& of) {
  const auto idle =
      std::chrono::duration_cast<std::chrono::seconds>(limits::mcp_idle_exit);
  std::vector<std::string> out = {program,
                                  "--mode",
                                  "http",
                                  "--socket",
                                  socket_path(of.key),
                                  "--workspace",
                                  ".",
                                  "--idle-exit",
                                  std::to_string(idle.count())};
  if (of.read_only)
    out.emplace_back("--read-only");
  if (of.one_session)
    out.emplace_back("--one-session");
  return out;
}

std::string caller_of(const std::string& key) {
  return std::string{caller_prefix} + key;
}

bool is_caller(std::string_view caller) {
  return caller.substr(0, caller_prefix.size()) == caller_prefix;
}

bool belongs_to_session(const sandbox_spec& spec) {
  return spec.labels.count(session_label) != 0;
}

} // namespace caged::mcp_server
