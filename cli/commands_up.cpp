#include <cstdlib>
#include <filesystem>
#include <iostream>

#include <unistd.h>

#include "cli/command_tree.hpp"
#include "cli/project_file.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace {

/// Says what a value may be, for help and completion; the verb itself refuses
/// others, with a better sentence.
CLI::Validator choices(const std::string& all) {
  return CLI::Validator{"{" + all + "}"};
}

} // namespace

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
      "cpus, memory,\ndisk, pids, network, env and labels (maps), name, node, "
      "require (a map), timeout,\nttl, workdir, init_script (a script in a "
      "block of lines, or in one line the path of\none beside the file), "
      "command (a list, or text for sh).");
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
  sub->add_option("--node", up.node,
                  "name or id of the node it must be on (default: any)")
      ->type_name("NODE");
  sub->add_option("--require", up.require_flags,
                  "KEY=VALUE, a label that its node must have; several")
      ->allow_extra_args(false);
  sub->add_option("-w,--workdir", up.spec.workdir, "where commands start")
      ->capture_default_str();
  sub->add_option("--init-script", up.init_script,
                  "file that /bin/sh runs in the new sandbox (default: none)")
      ->type_name("FILE");
  sub->add_option(
      "--timeout", up.timeout,
      "pause it after so long without command, terminal or forward; "
      "0: never (default 15m)");
  sub->add_option("--ttl", up.ttl,
                  "destroy it after so long (default 0: never)");
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

} // namespace caged::cli
