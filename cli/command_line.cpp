#include "cli/command_line.hpp"

#include <functional>
#include <iostream>

#include <CLI/CLI.hpp>

#include "cli/cp.hpp"
#include "cli/endpoint.hpp"
#include "cli/files.hpp"
#include "cli/verbs.hpp"

namespace caged::cli {

namespace {

constexpr int exit_usage = 2;

/// The program's flags, and what the chosen verb does.
struct command_line {
  CLI::App app{"caged: sandboxes for AI coding agents"};
  common_options common;
  std::string as = "table";
  up_options up;
  exec_options exec;
  list_options list;
  destroy_options destroy;
  cp_options cp;
  files_options files;
  std::string sandbox, user, source = "init";
  bool destroy_all = false;
  bool runs_command = false;
  std::function<result<int>()> verb;

  command_line();

private:
  CLI::App* add(CLI::App& to, const std::string& name, const std::string& says,
                std::function<result<int>()> run, const std::string& footer);
  void add_reference(CLI::App* to);
  void add_up();
  void add_exec();
  void add_connect();
  void add_cp();
  void add_files();
  void add_list_and_destroy();
  void add_views();
  void add_node();
};

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
      ->required();
}

void command_line::add_up() {
  auto* sub = add(
      app, "up", "create a sandbox, and run a command in it",
      [this] {
        runs_command = !up.command.empty();
        return run_up(common, std::move(up));
      },
      "  caged up --name web --memory 1g\n"
      "  caged up -e TOKEN --init-script setup.sh\n"
      "  caged up -- sh -c 'echo hello'");
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
      ->allow_extra_args(false);
  sub->add_option("-n,--name", up.spec.name,
                  "unique among yours: a-z, 0-9 and - (default: none)");
  sub->add_option("-l,--label", up.labels, "KEY=VALUE; several")
      ->allow_extra_args(false);
  sub->add_option("-w,--workdir", up.spec.workdir, "where commands start")
      ->capture_default_str();
  sub->add_option("--init-script", up.init_script,
                  "file that /bin/sh runs in the new sandbox (default: none)");
  sub->add_option("--network", up.network, "none, full or allowlist")
      ->capture_default_str();
  sub->add_option("--runtime", up.spec.runtime, "driver: oci or fake")
      ->capture_default_str();
  sub->add_option("command", up.command,
                  "behind --: run this, its exit code is caged's");
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

void command_line::add_cp() {
  auto* sub = add(
      app, "cp", "copy files into a sandbox or out of it",
      [this] { return run_cp(common, cp); },
      "  caged cp notes.txt web:/workspace\n"
      "  caged cp web:/workspace/out/ .\n"
      "  caged cp src/. web:src\n"
      "  head -c 1M /dev/urandom | caged cp - web:/tmp/noise\n"
      "  caged cp web:/etc/passwd -\n"
      "One side is SANDBOX:PATH; PATH starts at the sandbox's workdir. "
      "Destinations are\nchosen as by cp -r; modes, times, symbolic and hard "
      "links are kept. What comes out\nof a sandbox is taken to be hostile: "
      "links that lead out of the copy and devices\nare refused, "
      "set-user-id bits are dropped. Exit code: 1 when something was not "
      "copied.");
  sub->add_option("paths", cp.paths,
                  "SRC... DST; - is stdin as source, stdout as destination")
      ->required();
  sub->add_flag("-a,--archive", cp.archive,
                "keep numeric owners (default: root inside, you outside)");
  sub->add_flag("-q,--quiet", cp.quiet, "no progress on the terminal");
}

void command_line::add_files() {
  auto* group =
      app.add_subcommand("files", "look at and change a sandbox's files");
  group->require_subcommand(1);
  auto reference = [this](CLI::App* to) {
    to->add_option("sandbox", files.sandbox, "id, name or unique prefix")
        ->required();
    return to;
  };
  auto path = [this](CLI::App* to) {
    return to->add_option("path", files.path, "from the sandbox's workdir");
  };
  path(reference(add(
           *group, "ls", "show a directory or file",
           [this] { return run_files_ls(common, files); },
           "  caged files ls web /etc\n  caged files ls web --format json")))
      ->capture_default_str();
  path(reference(add(
           *group, "cat", "print a file",
           [this] { return run_files_cat(common, files); },
           "  caged files cat web /etc/passwd")))
      ->required();
  auto* sub = reference(add(
      *group, "write", "write stdin to a file, all of it or nothing",
      [this] { return run_files_write(common, files); },
      "  echo hello | caged files write web greeting\n"
      "  caged files write web run.sh --mode 0755 < run.sh"));
  path(sub)->required();
  sub->add_option("--mode", files.mode,
                  "octal (default: as it is, 0644 for a new file)")
      ->check(CLI::Validator(
          [](const std::string& text) {
            constexpr std::size_t digits = 4;
            return text.empty() || text.size() > digits
                           || text.find_first_not_of("01234567") != text.npos
                       ? "a mode is octal, such as 0644"
                       : std::string{};
          },
          "MODE"));
  sub = reference(add(
      *group, "rm", "remove files",
      [this] { return run_files_rm(common, files); },
      "  caged files rm web old.txt\n  caged files rm -r web build"));
  sub->add_option("paths", files.paths, "from the sandbox's workdir")
      ->required();
  sub->add_flag("-r,--recursive", files.recursive, "directories, too");
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
  sub->add_option("sandboxes", destroy.sandboxes, "ids, names or prefixes");
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
  app.add_option("--format", as, "table or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "json"}));
  add_up();
  add_exec();
  add_connect();
  add_cp();
  add_files();
  add_list_and_destroy();
  add_views();
  add_node();
}

} // namespace

int run_command_line(int argc, char** argv) {
  command_line line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return line.app.exit(e) == 0 ? 0 : exit_usage;
  }
  line.common.as = line.as == "json" ? format::json : format::table;
  auto code = line.verb();
  return code ? *code : exit_code_of(code.error(), line.runs_command);
}

} // namespace caged::cli
