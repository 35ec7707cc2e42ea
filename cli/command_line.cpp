#include "cli/command_line.hpp"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "cli/app_tree.hpp"
#include "cli/completion.hpp"
#include "cli/doctor.hpp"
#include "cli/endpoint.hpp"
#include "cli/project_file.hpp"
#include "cli/verbs.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

constexpr int exit_usage = 2;

/// The program's flags, and what the chosen verb does.
struct command_line {
  CLI::App app{"caged: sandboxes for AI coding agents", "caged"};
  common_options common;
  std::string as = "table";
  up_options up;
  exec_options exec;
  list_options list;
  destroy_options destroy;
  std::string sandbox, user, source = "init";
  doctor_options doctor;
  std::string config_file;
  bool no_config = false;
  std::string shell, what; ///< of completion, of the hidden verbs
  bool destroy_all = false;
  bool runs_command = false;
  std::function<result<int>()> verb;

  command_line();

private:
  CLI::App* add(CLI::App& to, const std::string& name, const std::string& says,
                std::function<result<int>()> run, const std::string& footer);
  void add_reference(CLI::App* to);
  void add_up();
  result<void> read_project();
  void add_exec();
  void add_connect();
  void add_list_and_destroy();
  void add_views();
  void add_node();
  void add_doctor();
  void add_for_shells();
};

/// Says what a value may be, for help and completion; the verb itself refuses
/// others, with a better sentence.
CLI::Validator choices(const std::string& all) {
  return CLI::Validator{"{" + all + "}"};
}

CLI::App* command_line::add(CLI::App& to, const std::string& name,
                            const std::string& says,
                            std::function<result<int>()> run,
                            const std::string& footer) {
  auto* sub = to.add_subcommand(name, says);
  if (!footer.empty())
    sub->footer("Examples:\n" + footer);
  sub->callback([this, run = std::move(run)] { verb = run; });
  return sub;
}

void command_line::add_reference(CLI::App* to) {
  to->add_option("sandbox", sandbox, "id, name or unique prefix of either")
      ->type_name("SANDBOX")
      ->required();
}

void command_line::add_up() {
  auto* sub = add(
      app, "up", "create a sandbox, and run a command in it",
      [this]() -> result<int> {
        if (auto read = read_project(); !read)
          return tl::unexpected<failure>(read.error());
        runs_command = !up.command.empty();
        return run_up(common, std::move(up));
      },
      "  caged up --name web --memory 1g\n"
      "  caged up -e TOKEN --init-script setup.sh\n"
      "  caged up -- sh -c 'echo hello'\n"
      "What flags do not say, .caged.yaml says, in this directory or above, up "
      "to the\nrepository's root or your home. Its keys are template, runtime, "
      "cpus, memory,\ndisk, pids, network, env and labels (maps), name, "
      "workdir, init_script (a script\nin a block of lines, or in one line the "
      "path of one beside the file), command\n(a list, or text for sh).");
  up.network = "none";
  sub->add_option("-T,--template", up.spec.template_name, "file system to use")
      ->capture_default_str();
  sub->add_option("--cpus", up.spec.cpus, "1 to 8")->capture_default_str();
  sub->add_option("-m,--memory", up.memory,
                  "MB as 512 or 512m, GB as 1g; 128 MB to 8 GB (default 512)");
  sub->add_option("--disk", up.disk, "GB as 5 or 5g; 1 to 50 (default 5)");
  sub->add_option("--pids", up.spec.pids,
                  "processes and threads, the agent's "
                  "included")
      ->capture_default_str();
  sub->add_option("-e,--env", up.env,
                  "KEY=VALUE, or KEY to pass on your own; several")
      ->allow_extra_args(false);
  sub->add_option("--env-file", up.env_files,
                  "file of KEY=VALUE lines; several")
      ->type_name("FILE")
      ->allow_extra_args(false);
  sub->add_option("-n,--name", up.spec.name,
                  "unique among yours: a-z, 0-9 and - (default: none)");
  sub->add_option("-l,--label", up.labels, "KEY=VALUE; several")
      ->allow_extra_args(false);
  sub->add_option("-w,--workdir", up.spec.workdir, "where commands start")
      ->capture_default_str();
  sub->add_option("--init-script", up.init_script,
                  "file that /bin/sh runs in the new sandbox (default: none)")
      ->type_name("FILE");
  sub->add_option("--network", up.network, "what it may reach")
      ->capture_default_str()
      ->check(choices("none,full,allowlist"));
  sub->add_option("--runtime", up.spec.runtime, "driver")
      ->capture_default_str()
      ->check(choices("oci,fake"));
  auto* config = sub->add_option("--config", config_file,
                                 "instead of the nearest .caged.yaml");
  config->type_name("FILE");
  sub->add_flag("--no-config", no_config, "read no .caged.yaml")
      ->excludes(config);
  sub->add_option("command", up.command,
                  "behind --: run this, its exit code is caged's");
}

result<void> command_line::read_project() {
  if (no_config)
    return {};
  std::filesystem::path file = config_file;
  if (file.empty()) {
    std::error_code error;
    const char* home = std::getenv("HOME");
    auto found = find_project_file(std::filesystem::current_path(error),
                                   home ? home : "");
    if (!found)
      return {};
    file = *found;
    if (::isatty(STDERR_FILENO) == 1)
      std::cerr << "settings of " << escape_text(file.string()) << "\n";
  }
  const auto* sub = app.get_subcommand("up");
  return read_project_file(
      file, up, [&](const std::string& flag) { return sub->count(flag) > 0; });
}

void command_line::add_exec() {
  auto* sub = add(
      app, "exec", "run a command in a sandbox",
      [this] {
        runs_command = true;
        return run_exec_verb(common, std::move(exec));
      },
      "  caged exec web -- ls -l\n"
      "  tar -c . | caged exec web -- tar -x\n"
      "  caged exec -t web -- vi notes\n"
      "Exit code: the command's; 128+n when signal n ended it, 124 "
      "when its time\nwas up, 125 when caged failed, 126 and 127 "
      "as from a shell.");
  sub->add_option("sandbox", exec.sandbox, "id, name or unique prefix")
      ->type_name("SANDBOX")
      ->required();
  sub->add_option("command", exec.command, "the command, behind --");
  sub->add_flag("-t,--tty", exec.tty, "give it a terminal (default: no)");
  sub->add_flag("-i,--interactive", exec.interactive,
                "stdin is always passed on: for habit");
  sub->add_flag("--no-stdin", exec.no_stdin,
                "give it no stdin (default: yours)");
  sub->add_option("-e,--env", exec.env, "KEY=VALUE or KEY; several")
      ->allow_extra_args(false);
  sub->add_option("--env-file", exec.env_files, "file of KEY=VALUE lines")
      ->type_name("FILE")
      ->allow_extra_args(false);
  sub->add_option("-w,--workdir", exec.workdir,
                  "where it starts (default: the sandbox's)");
  sub->add_option("-u,--user", exec.user, "user name or id (default: root)");
  sub->add_option("--timeout", exec.timeout,
                  "end it after 90s, 5m, 1h (default: never)");
}

void command_line::add_connect() {
  auto* sub = add(
      app, "connect", "open a login shell in a sandbox",
      [this] {
        runs_command = true;
        return run_connect(common, sandbox, user);
      },
      "  caged connect web");
  add_reference(sub);
  sub->add_option("-u,--user", user, "user name or id (default: root)");
}

void command_line::add_list_and_destroy() {
  auto* sub = add(
      app, "list", "show sandboxes", [this] { return run_list(common, list); },
      "  caged list --label team=blue\n"
      "  caged ls -q");
  sub->alias("ls");
  sub->add_flag("-q,--quiet", list.quiet, "ids alone");
  sub->add_flag("-a,--all", list.all, "destroyed ones of the last week, too");
  sub->add_option("-l,--label", list.labels, "KEY=VALUE; all must match")
      ->allow_extra_args(false);
  sub = add(
      app, "destroy", "destroy sandboxes and their files",
      [this] { return run_destroy(common, std::move(destroy)); },
      "  caged destroy web cage-1a2b3c4d\n"
      "  caged rm --all --force");
  sub->alias("rm");
  sub->add_option("sandboxes", destroy.sandboxes, "ids, names or prefixes")
      ->type_name("SANDBOX");
  sub->add_flag("-a,--all", destroy.all, "every sandbox");
  sub->add_flag("-f,--force", destroy.force, "do not ask");
}

void command_line::add_views() {
  add_reference(add(
      app, "get", "show everything about a sandbox",
      [this] { return run_get(common, sandbox); },
      "  caged get web --format json"));
  add_reference(add(
      app, "why", "show what happened to a sandbox, and why",
      [this] { return run_why(common, sandbox); }, "  caged why web"));
  auto* sub = add(
      app, "logs", "print what a sandbox's init script printed",
      [this] { return run_logs(common, sandbox, source); },
      "  caged logs web\n  caged logs --source agent web");
  add_reference(sub);
  sub->add_option("--source", source, "init or agent")
      ->capture_default_str()
      ->check(CLI::IsMember({"init", "agent"}));
  add(
      app, "version", "print the version",
      [this] { return run_version(common); }, "");
}

void command_line::add_node() {
  auto* node = app.add_subcommand("node", "ask about the node, or end it");
  node->require_subcommand(1);
  add(
      *node, "status", "show capacity and sandboxes",
      [this] { return run_status(common); }, "  caged node status");
  add(
      *node, "audit", "hold the journal against the kernel",
      [this] { return run_audit(common); }, "  caged node audit");
  add(
      *node, "shutdown", "end the daemon; sandboxes live on",
      [this] { return run_shutdown(common, destroy_all); },
      "  caged node shutdown --destroy-all")
      ->add_flag("--destroy-all", destroy_all, "destroy every sandbox first");
}

void command_line::add_doctor() {
  add(
      app, "doctor", "look whether this host can run caged-node",
      [this] { return run_doctor(common, doctor); },
      "  sudo caged doctor\n"
      "  caged doctor --data-dir /srv/caged --format json\n"
      "Each line is ok, warn or bad, with what to do. Exit code: 1 when "
      "something is bad.")
      ->add_option("--data-dir", doctor.data_dir,
                   "where the node keeps its "
                   "files")
      ->capture_default_str()
      ->type_name("FILE");
}

void command_line::add_for_shells() {
  add(
      app, "completion", "print a script with which a shell completes caged",
      [this]() -> result<int> {
        std::cout << completion_script(describe(app), shell);
        return 0;
      },
      "  source <(caged completion bash)\n"
      "  caged completion zsh > \"${fpath[1]}/_caged\"\n"
      "  caged completion fish > ~/.config/fish/completions/caged.fish")
      ->add_option("shell", shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  auto* sub = add(
      app, "__complete", "candidates for those scripts",
      [this] { return run_complete(common); }, "");
  sub->group("");
  sub->add_option("what", what, "sandboxes")
      ->required()
      ->check(CLI::IsMember({"sandboxes"}));
}

command_line::command_line() {
  app.require_subcommand(1);
  app.fallthrough(); // --format and --endpoint behind the verb, too
  app.footer("Examples:\n"
             "  caged up --name web\n"
             "  caged exec web -- uname -a\n"
             "  caged destroy web\n"
             "caged VERB --help says more.");
  common.endpoint = default_endpoint;
  app.add_option("--endpoint", common.endpoint, "where the node listens")
      ->envname("CAGED_ENDPOINT")
      ->capture_default_str();
  app.add_option("--format", as, "how to show answers")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "json", "yaml"}));
  add_up();
  add_exec();
  add_connect();
  add_list_and_destroy();
  add_views();
  add_node();
  add_doctor();
  add_for_shells();
}

} // namespace

int run_command_line(int argc, char** argv) {
  command_line line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return line.app.exit(e) == 0 ? 0 : exit_usage;
  }
  line.common.as = line.as == "json"   ? format::json
                   : line.as == "yaml" ? format::yaml
                                       : format::table;
  auto code = line.verb();
  return code ? *code : exit_code_of(code.error(), line.runs_command);
}

} // namespace caged::cli
