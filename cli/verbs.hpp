#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/node_address.hpp"
#include "cli/views.hpp"

/// One function a verb; each prints its answer on stdout and gives the exit
/// code. Errors go to main, which prints them.
namespace caged::cli {

/// What every verb knows.
struct common_options {
  node_address endpoint;
  format as = format::table;
};

/// Exit code of a failure; `runs_command`: of a verb whose exit code belongs to
/// a command.
int exit_code_of(const failure& why, bool runs_command);

/// spec.env, spec.labels and spec.init_script come from .caged.yaml; what the
/// strings below say is put over them.
struct up_options {
  sandbox_spec spec;
  std::string memory, disk, network;
  std::string timeout, ttl; ///< durations; empty: the default
  std::vector<std::string> env, env_files, labels;
  std::string init_script; ///< path
  std::vector<std::string> command;
  std::string node;                           ///< name or id; empty: any
  std::map<std::string, std::string> require; ///< labels of its node
  std::vector<std::string> require_flags;     ///< "KEY=VALUE", put over them
};
/// Creates it and waits until it runs; progress on stderr when that is a
/// terminal. `command` is not run.
result<sandbox_info> make_sandbox(const common_options& with, up_options what);
result<int> run_up(const common_options& with, up_options what);

struct exec_options {
  std::string sandbox;
  std::vector<std::string> command;
  std::vector<std::string> env, env_files;
  std::string workdir, user, timeout;
  bool tty = false, no_stdin = false, detach = false, resume = false;
  bool interactive = false; ///< says nothing new
};
result<int> run_exec_verb(const common_options& with, exec_options what);
result<int> run_connect(const common_options& with, const std::string& sandbox,
                        const std::string& user);

struct list_options {
  bool quiet = false, all = false;
  std::vector<std::string> labels;
};
result<int> run_list(const common_options& with, const list_options& what);

struct destroy_options {
  std::vector<std::string> sandboxes;
  bool all = false, force = false;
};
result<int> run_destroy(const common_options& with, destroy_options what);

result<int> run_get(const common_options& with, const std::string& sandbox);
result<int> run_why(const common_options& with, const std::string& sandbox);
result<int> run_logs(const common_options& with, const std::string& sandbox,
                     const std::string& source);
result<int> run_status(const common_options& with);
result<int> run_audit(const common_options& with, bool fix);
result<int> run_shutdown(const common_options& with, bool destroy_all);
result<int> run_version(const common_options& with);

} // namespace caged::cli
