#pragma once

#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/context.hpp"
#include "cli/cp.hpp"
#include "cli/doctor.hpp"
#include "cli/files.hpp"
#include "cli/key.hpp"
#include "cli/live.hpp"
#include "cli/mcp.hpp"
#include "cli/node.hpp"
#include "cli/token.hpp"
#include "cli/verbs.hpp"

/// The flags of every verb, by subject: commands_*.cpp and command_line.cpp.
namespace caged::cli {

/// The program's flags, and what the chosen verb does.
struct command_line {
  CLI::App app{"caged: sandboxes for AI coding agents", "caged"};
  common_options common;
  address_options address;
  std::string as = "table";
  up_options up;
  exec_options exec;
  list_options list;
  destroy_options destroy;
  std::vector<std::string> sandboxes; ///< of pause and resume
  std::string exec_id, signal = "TERM";
  bool no_stdin = false, fix = false;
  events_options events;
  top_options top;
  forward_options forward;
  cp_options cp;
  files_options files;
  mcp_options mcp;
  mcp_config_options mcp_config;
  token_options token;
  key_options key;
  context_options context;
  node_options nodes;
  std::string sandbox, user, source = "init";
  doctor_options doctor;
  std::string config_file;
  bool no_config = false;
  std::string shell, what, page; ///< of completion, of the hidden verbs
  bool destroy_all = false;
  bool runs_command = false;
  bool local = false; ///< the verb asks no node
  std::function<result<int>()> verb;

  command_line();

  /// Whether the verb's exit code belongs to a command, before it runs.
  bool gives_exit_code() const;

private:
  CLI::App* add(CLI::App& to, const std::string& name, const std::string& says,
                std::function<result<int>()> run, const std::string& footer);
  CLI::App* add_local(CLI::App& to, const std::string& name,
                      const std::string& says, std::function<result<int>()> run,
                      const std::string& footer);
  void add_address();
  void add_reference(CLI::App* to);
  void add_up();
  result<void> read_project();
  void add_exec();
  void add_connect();
  void add_pause();
  void add_execs();
  void add_events();
  void add_forward();
  void add_cp();
  void add_files();
  void add_list_and_destroy();
  void add_views();
  void add_node();
  void add_fleet(CLI::App& node);
  result<int> mcp_verb();
  void add_mcp();
  void add_mcp_session(CLI::App* to, mcp_options& session);
  void add_token();
  void add_key();
  void add_context();
  void add_doctor();
  void add_for_shells();
};

} // namespace caged::cli
