#include "cli/command_tree.hpp"

// The node that is asked, and the fleet's.
namespace caged::cli {

namespace {

constexpr const char* which = "ids or names: caged node list";

} // namespace

void command_line::add_node() {
  auto* node =
      app.add_subcommand("node", "ask about nodes, keep work off one, end one");
  node->require_subcommand(1);
  add(
      *node, "status", "show capacity and sandboxes of the node that is asked",
      [this] { return run_status(common); }, "  caged node status");
  add(
      *node, "audit", "hold the journal against the kernel",
      [this] { return run_audit(common, fix); },
      "  caged node audit\n  caged node audit --fix")
      ->add_flag("--fix", fix, "free what belongs to no sandbox any more");
  add(
      *node, "shutdown", "end the daemon; sandboxes live on",
      [this] { return run_shutdown(common, destroy_all); },
      "  caged node shutdown --destroy-all")
      ->add_flag("--destroy-all", destroy_all, "destroy every sandbox first");
  add_fleet(*node);
}

void command_line::add_fleet(CLI::App& node) {
  auto* sub = add(
      node, "list", "show the nodes of the fleet",
      [this] { return run_node_list(common, nodes); },
      "  caged node list\n"
      "  caged node list --format json\n"
      "CPUS, MEMORY and DISK are what sandboxes have reserved, and what there "
      "is. A node is lost when it has been silent for some seconds.");
  sub->alias("ls");
  sub->add_flag("-q,--quiet", nodes.quiet, "ids alone");
  add(
      node, "get", "show everything about a node",
      [this] { return run_node_get(common, nodes); },
      "  caged node get worker-1")
      ->add_option("node", nodes.node, "id or name: caged node list")
      ->type_name("NODE")
      ->required();
  for (bool on : {true, false})
    add(
        node, on ? "cordon" : "uncordon",
        on ? "let nodes take no new sandboxes; admins only"
           : "let nodes take sandboxes again; admins only",
        [this, on] { return run_node_cordon(common, nodes, on); },
        on ? "  caged node cordon worker-1\n"
             "Sandboxes that are there go on; to be cordoned outlives the "
             "daemon."
           : "  caged node uncordon worker-1")
        ->add_option("nodes", nodes.nodes, which)
        ->type_name("NODE")
        ->required();
  add(
      node, "token", "make a token with which one host joins; admins only",
      [this] { return run_node_token(common, nodes); },
      "  caged node token > TOKEN\n"
      "  caged node token --ttl 10m | ssh HOST caged-node join "
      "tcp://10.0.0.1:7400 --token-file -\n"
      "It is used once, through the node that made it. Whoever has it gets "
      "what a node gets, the store's password among it: send it as you would a "
      "password.")
      ->add_option("--ttl", nodes.ttl,
                   "how long it is good, from 1s to 7 days (default: 1h)");
  sub = add(
      node, "rm", "forget nodes that are gone for good; admins only",
      [this] { return run_node_rm(common, nodes); },
      "  caged node rm worker-1\n"
      "  caged node rm --force worker-1\n"
      "Refused while the node is alive, and while sandboxes are placed there. "
      "With --force it goes at once, and its sandboxes with it: their names "
      "are free, and its daemon, if it is alive or when it comes back, "
      "destroys "
      "them and ends. No other node lets it in any more, until a host joins "
      "under its id again (caged-node join).");
  sub->add_flag("-f,--force", nodes.force,
                "though it is alive, and with its sandboxes");
  sub->add_option("nodes", nodes.nodes, which)->type_name("NODE")->required();
}

} // namespace caged::cli
