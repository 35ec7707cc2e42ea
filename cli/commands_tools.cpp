#include <iostream>

#include "cli/app_tree.hpp"
#include "cli/command_tree.hpp"
#include "cli/completion.hpp"
#include "cli/reference.hpp"

namespace caged::cli {

void command_line::add_mcp_session(CLI::App* to, mcp_options& session) {
  auto* named = to->add_option("sandbox", session.sandbox,
                               "id, name or prefix; none: a new one, which is "
                               "destroyed with the session")
                    ->type_name("SANDBOX");
  to->add_option("-t,--template", session.template_name,
                 "template of the new one")
      ->capture_default_str()
      ->excludes(named);
  to->add_option("--workspace", session.workspace,
                 "folder inside that the tools work on (default: the "
                 "sandbox's working directory)");
  to->add_flag("--read-only", session.read_only,
               "no tool that writes or runs commands");
}

// CLI11 calls back for a verb after those beneath it.
result<int> command_line::mcp_verb() {
  if (app.get_subcommand("mcp")->got_subcommand("config"))
    return run_mcp_config(common, mcp_config);
  runs_command = true;
  return run_mcp(common, std::move(mcp));
}

void command_line::add_mcp() {
  auto* sub = add(
      app, "mcp", "bridge an MCP client to a sandbox over stdin and stdout",
      [this] { return mcp_verb(); },
      "  caged mcp web                 what an MCP client starts\n"
      "  caged mcp --template minimal  a sandbox for this session alone\n"
      "  caged mcp config claude web   what to write into the client's "
      "configuration");
  sub->require_subcommand(0, 1);
  add_mcp_session(sub, mcp);
  sub = add(
      *sub, "config", "print a client's configuration for such a session",
      [this] { return mcp_verb(); },
      "  caged mcp config claude web > .mcp.json\n"
      "  caged mcp config cursor --template minimal");
  sub->add_option("client", mcp_config.client, "claude or cursor")
      ->required()
      ->check(CLI::IsMember({"claude", "cursor"}));
  add_mcp_session(sub, mcp_config.session);
}

void command_line::add_token() {
  auto* group =
      app.add_subcommand("token", "tokens that let MCP clients in over HTTP");
  group->require_subcommand(1);

  auto* sub = add(
      *group, "create", "make a token; it is printed once, on stdout",
      [this] { return run_token_create(common, token); },
      "  caged token create --sandbox web > web.token\n"
      "  caged token create --template minimal --ttl 8h\n"
      "  caged token create --sandbox web --scope read --format json\n"
      "A token of a sandbox opens /v1/sandboxes/ID/mcp of the node's gateway; "
      "one of a template /v1/mcp, where each session has a sandbox of its own. "
      "With scope read there is no tool that writes or runs commands.");
  auto* one = sub->add_option("--sandbox", token.sandbox, "id, name or prefix")
                  ->type_name("SANDBOX");
  sub->add_option("--template", token.template_name,
                  "template of each session's sandbox")
      ->excludes(one);
  sub->add_option("--scope", token.scope, "mcp, or read for read-only tools")
      ->capture_default_str()
      ->check(CLI::IsMember({"mcp", "read"}));
  sub->add_option("--ttl", token.ttl,
                  "how long it lives, for example 30m (default: 1h)");
  sub = add(
      *group, "list", "tokens that have not expired",
      [this] { return run_token_list(common, token); },
      "  caged token list\n  caged token list -q");
  sub->alias("ls");
  sub->add_flag("-q,--quiet", token.quiet, "ids only");
  sub = add(
      *group, "revoke", "end tokens and the sessions they let in",
      [this] { return run_token_revoke(common, token); },
      "  caged token revoke tok-abc12345");
  sub->alias("rm");
  sub->add_option("token", token.ids, "ids, from caged token list")->required();
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
  add_local(
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
      [this] { return run_complete(common, what); }, "");
  sub->group("");
  sub->add_option("what", what, "sandboxes or nodes")
      ->required()
      ->check(CLI::IsMember({"sandboxes", "nodes"}));
  sub = add_local(
      app, "__docs", "the reference, for ops/docs",
      [this]() -> result<int> {
        auto tree = describe(app);
        if (what == "markdown") {
          std::cout << reference_markdown(tree);
        } else if (page.empty()) {
          for (const auto& name : manual_pages(tree))
            std::cout << name << "\n";
        } else {
          auto made = manual_page(tree, page);
          if (!made)
            return tl::unexpected<failure>(made.error());
          std::cout << *made;
        }
        return 0;
      },
      "");
  sub->group("");
  sub->add_option("what", what, "markdown or man")
      ->required()
      ->check(CLI::IsMember({"markdown", "man"}));
  sub->add_option("page", page, "a page of man (default: list them)");
}

} // namespace caged::cli
