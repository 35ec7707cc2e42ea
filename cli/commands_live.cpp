#include "cli/command_tree.hpp"

// Verbs on what runs.
namespace caged::cli {

void command_line::add_pause() {
  for (bool freeze : {true, false}) {
    auto* sub = add(
        app, freeze ? "pause" : "resume",
        freeze ? "freeze sandboxes: they use no cpu and keep their memory"
               : "let paused sandboxes go on",
        [this, freeze] { return run_pause(common, sandboxes, freeze); },
        freeze ? "  caged pause web" : "  caged resume web");
    sub->alias(freeze ? "sleep" : "wake");
    sub->add_option("sandboxes", sandboxes, "ids, names or prefixes")
        ->type_name("SANDBOX")
        ->required();
  }
}

void command_line::add_execs() {
  add_reference(add(
      app, "ps", "show the commands of a sandbox, detached ones that ended too",
      [this] { return run_ps(common, sandbox); }, "  caged ps web"));
  auto* sub = add(
      app, "attach", "replay a detached exec, and follow it to its end",
      [this] {
        runs_command = true;
        return run_attach(common, sandbox, exec_id, no_stdin);
      },
      "  caged attach web\n"
      "  caged attach web 5f3c\n"
      "Its exit code is the command's. Ctrl-P Ctrl-Q leaves a terminal to "
      "itself.");
  add_reference(sub);
  sub->add_option("exec", exec_id,
                  "its id or a unique prefix (default: the only one)");
  sub->add_flag("--no-stdin", no_stdin,
                "pass nothing on (default: your stdin)");
  sub = add(
      app, "kill", "send a signal to a command in a sandbox",
      [this] { return run_kill(common, sandbox, exec_id, signal); },
      "  caged kill web 5f3c\n"
      "  caged kill -s INT web 5f3c");
  add_reference(sub);
  sub->add_option("exec", exec_id, "its id or a unique prefix: caged ps")
      ->required();
  sub->add_option("-s,--signal", signal, "name or number")
      ->capture_default_str();
}

void command_line::add_events() {
  auto* sub = add(
      app, "events", "show what happened to sandboxes, and what happens",
      [this] { return run_events(common, events); },
      "  caged events --since 10m\n"
      "  caged events -f web");
  sub->add_option("sandbox", events.sandbox,
                  "id, name or unique prefix (default: all)")
      ->type_name("SANDBOX");
  sub->add_flag("-f,--follow", events.follow, "go on with what happens");
  sub->add_option("--since", events.since,
                  "from so long ago: 90s, 5m, 1h (default: all that is kept)");
  sub = add(
      app, "top", "show what sandboxes use, live on a terminal",
      [this] { return run_top(common, top); },
      "  caged top\n"
      "  caged top --once --sort memory");
  sub->add_option("--sort", top.sort, "cpu, memory, pids, name or age")
      ->capture_default_str()
      ->check(CLI::IsMember({"cpu", "memory", "pids", "name", "age"}));
  sub->add_option("--interval", top.interval, "between two readings")
      ->capture_default_str();
  sub->add_flag("--once", top.once, "print one table and end");
}

void command_line::add_forward() {
  auto* sub = add(
      app, "forward", "connect a port here to a port in a sandbox",
      [this] { return run_forward(common, forward); },
      "  caged forward web 8080\n"
      "  caged forward web 9000:8080\n"
      "It prints where it listens and goes on until a signal. Over a restart "
      "of "
      "the node\nopen connections end, new ones work.");
  sub->add_option("sandbox", forward.sandbox, "id, name or unique prefix")
      ->type_name("SANDBOX")
      ->required();
  sub->add_option("ports", forward.ports, "PORT or LOCAL:PORT; LOCAL 0: any")
      ->required();
  sub->add_option("--address", forward.address, "IPv4 address to listen on")
      ->capture_default_str();
  sub->add_flag("--resume", forward.resume, "resume the sandbox when paused");
}

} // namespace caged::cli
