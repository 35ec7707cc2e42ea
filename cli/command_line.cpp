#include "cli/command_line.hpp"

#include <iostream>

#include "cli/command_tree.hpp"

namespace caged::cli {

namespace {

constexpr int exit_usage = 2;

} // namespace

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
  sub->add_flag("-d,--detach", exec.detach,
                "leave it running and print its id: caged attach, ps, kill");
  sub->add_flag("--resume", exec.resume,
                "resume the sandbox when it is paused");
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
  sub->add_flag("-a,--all", list.all,
                "destroyed ones of the last week, too (the newest 2,000)");
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
  add_local(
      app, "version", "print the version",
      [this] { return run_version(common); }, "");
}

command_line::command_line() {
  app.require_subcommand(1);
  app.fallthrough(); // --format and --endpoint behind the verb, too
  app.footer("Examples:\n"
             "  caged up --name web\n"
             "  caged exec web -- uname -a\n"
             "  caged destroy web\n"
             "caged VERB --help says more.");
  add_address();
  app.add_option("--format", as, "how to show answers")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "json", "yaml"}));
  add_up();
  add_exec();
  add_connect();
  add_execs();
  add_pause();
  add_cp();
  add_files();
  add_list_and_destroy();
  add_views();
  add_events();
  add_forward();
  add_node();
  add_mcp();
  add_token();
  add_key();
  add_context();
  add_doctor();
  add_for_shells();
}

bool command_line::gives_exit_code() const {
  return app.got_subcommand("exec") || app.got_subcommand("connect")
         || app.got_subcommand("attach") || app.got_subcommand("mcp");
}

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
  if (!line.local) {
    auto to = resolve(line.address);
    if (!to)
      return exit_code_of(to.error(), line.gives_exit_code());
    line.common.endpoint = std::move(*to);
  }
  auto code = line.verb();
  return code ? *code : exit_code_of(code.error(), line.runs_command);
}

} // namespace caged::cli
