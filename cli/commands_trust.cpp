#include "cli/command_tree.hpp"

// Who may come in, and where to: keys, contexts, and the flags of every verb
// that say so.
namespace caged::cli {

void command_line::add_address() {
  app.add_option("--endpoint", address.endpoint,
                 std::string{"where the node listens; several with commas, the "
                             "first that answers (default: the context's, "}
                     + default_endpoint + " without one)")
      ->envname("CAGED_ENDPOINT");
  app.add_option("--server-key", address.server_key,
                 "public key of the node at tcp://, or a file of it; several "
                 "as the endpoints (default: the context's)")
      ->envname("CAGED_SERVER_KEY");
  app.add_option("--key", address.key,
                 "file of your secret key for tcp:// (default: the context's, "
                 "else that of caged key create)")
      ->type_name("FILE")
      ->envname("CAGED_KEY");
  app.add_option("--context", address.context,
                 "for this once, instead of the one in use: caged context list")
      ->envname("CAGED_CONTEXT");
}

/// A verb that asks no node: a broken context must not keep it from working.
CLI::App* command_line::add_local(CLI::App& to, const std::string& name,
                                  const std::string& says,
                                  std::function<result<int>()> run,
                                  const std::string& footer) {
  auto* sub = add(to, name, says, {}, footer);
  sub->callback([this, run = std::move(run)] {
    verb = run;
    local = true;
  });
  return sub;
}

void command_line::add_key() {
  auto* group = app.add_subcommand("key", "keys of clients over tcp");
  group->require_subcommand(1);
  auto* sub = add_local(
      *group, "create", "make a pair of keys for yourself",
      [this] { return run_key_create(common, key); },
      "  caged key create\n"
      "  caged key create alice\n"
      "The secret one stays in $XDG_CONFIG_HOME/caged/keys, yours alone; "
      "stdout names the public one, which an admin is sent.");
  sub->add_option("name", key.name, "its name (default: your login name)");
  sub->add_flag("-f,--force", key.force, "replace one that is there");

  sub = add(
      *group, "authorize", "let the bearer of a key in; admins only",
      [this] { return run_key_authorize(common, key); },
      "  caged key authorize alice.pub --role user\n"
      "  caged key authorize laptop.pub --role user --name alice\n"
      "An admin may everything, a user everything with sandboxes of its own, a "
      "viewer look at all of them. A key that is known gets the new role at "
      "once. Sandboxes belong to the name.");
  sub->add_option("file", key.file, "the public file of caged key create")
      ->type_name("FILE")
      ->required();
  sub->add_option("--role", key.role, "what the bearer may do")
      ->required()
      ->check(CLI::IsMember({"admin", "user", "viewer"}));
  sub->add_option("--name", key.as,
                  "whose it is; may be another key's, too (default: as the "
                  "file says)");

  sub = add(
      *group, "revoke", "let it in no longer, from this moment; admins only",
      [this] { return run_key_revoke(common, key); },
      "  caged key revoke alice\n"
      "Open connections end with it, and so do the gateway's tokens of whoever "
      "has no other key. Sandboxes stay.");
  sub->alias("rm");
  sub->add_option("key", key.keys,
                  "public keys, or names for all keys of theirs")
      ->required();

  sub = add(
      *group, "list", "who is let in; admins only",
      [this] { return run_key_list(common, key); },
      "  caged key list\n  caged key list -q");
  sub->alias("ls");
  sub->add_flag("-q,--quiet", key.quiet, "keys only");
}

void command_line::add_context() {
  auto* group =
      app.add_subcommand("context", "names for nodes and the keys for them");
  group->require_subcommand(1);
  auto* sub = add_local(
      *group, "add", "remember where a node is",
      [this] { return run_context_add(common, context); },
      "  caged context add work --endpoint tcp://10.0.0.1:7400 --server-key "
      "node.pub --key ~/.config/caged/keys/alice\n"
      "  caged context use work\n"
      "The server key is what caged node status shows on the node.");
  // Flags of its own: here they are what is remembered, and no variable counts.
  sub->fallthrough(false);
  sub->add_option("name", context.name, "a-z, 0-9 and -")->required();
  sub->add_option("--endpoint", context.endpoint,
                  "tcp://HOST:PORT; several with commas")
      ->required();
  sub->add_option("--server-key", context.server_key,
                  "public key of the node, or a file of it");
  sub->add_option("--key", context.key, "file of your secret key")
      ->type_name("FILE");
  sub->add_flag("-f,--force", context.force, "replace one of that name");

  sub = add_local(
      *group, "use", "take it where no flag says otherwise",
      [this] { return run_context_use(common, context); },
      "  caged context use work\n"
      "  caged context use local   this host's node again");
  sub->add_option("name", context.name, "a context, or local")->required();
  sub = add_local(
      *group, "list", "show them", [this] { return run_context_list(common); },
      "  caged context list");
  sub->alias("ls");
  sub = add_local(
      *group, "rm", "forget one; its key file stays",
      [this] { return run_context_rm(common, context); },
      "  caged context rm work");
  sub->add_option("name", context.name, "a context")->required();
}

} // namespace caged::cli
