#include "nodes/setup.hpp"

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "actors/join_table.hpp"
#include "caged_version.hpp"
#include "messages/sandbox.hpp"
#include "messages/text.hpp"
#include "nodes/data_directory.hpp"
#include "nodes/node_key.hpp"
#include "nodes/open_store.hpp"
#include "nodes/tcp_port.hpp"

namespace caged {

namespace fs = std::filesystem;

namespace {

int complain(const failure& why, int code) {
  std::fprintf(stderr, "caged-node: %s\n", why.message.c_str());
  if (!why.hint.empty())
    std::fprintf(stderr, "hint: %s\n", why.hint.c_str());
  return code;
}

void say(const char* name, const std::string& value) {
  std::printf("%-12s %s\n", name, value.c_str());
}

/// What both have beside the settings of the daemon.
struct common {
  std::string file = default_config_file;
  bool force = false;

  void add_to(CLI::App& app) {
    app.add_option("--config", file,
                   "the configuration file that is written, mode 0600")
        ->envname("CAGED_NODE_CONFIG")
        ->capture_default_str();
    app.add_flag("--force", force, "replace another file that is there");
  }
  fs::path path() const { return fs::absolute(file).lexically_normal(); }
};

/// This host's side of it: its directories, its id and its key.
struct own_side {
  std::unique_ptr<data_directory> directory;
  key_pair key;
};

result<own_side> open_own_side(const node_config& config) {
  own_side out;
  auto opened = data_directory::open(config.data_dir, config.run_dir);
  if (!opened)
    return tl::unexpected<failure>(opened.error());
  out.directory = std::move(*opened);
  auto key = open_node_key(config.data_dir);
  if (!key)
    return tl::unexpected<failure>(key.error());
  out.key = std::move(*key);
  return out;
}

/// The unit of systemd reads variables from node.env: there the file has to be
/// named. Whether it is, or was written now.
bool is_known_to_systemd(const fs::path& file) {
  if (file != default_config_file)
    return false;
  const auto env = file.parent_path() / "node.env";
  const auto line = "CAGED_NODE_CONFIG=" + file.string() + "\n";
  std::error_code none;
  return fs::exists(env, none) ? may_write_config(env, line, false).has_value()
                               : write_config(env, line, false).has_value();
}

void say_how_to_start(const fs::path& file) {
  std::printf("\nNext:\n");
  if (file != default_config_file) {
    std::printf("  caged-node --config %s\n", file.c_str());
    return;
  }
  if (!is_known_to_systemd(file))
    std::printf("  put CAGED_NODE_CONFIG=%s into /etc/caged/node.env\n",
                file.c_str());
  std::printf("  systemctl enable --now caged-node\n");
}

// -- init ---------------------------------------------------------------------

int run_init(int argc, const char* const* argv) {
  common with;
  CLI::App app{"Makes a cluster, of which this host is the first node: its id "
               "in the store, this\nnode's own key, and the configuration "
               "file, from the flags and variables given.\nA cluster that the "
               "store has already stays as it is.",
               "caged-node init"};
  with.add_to(app);
  app.footer(
      "Examples:\n"
      "  caged-node init                    one host alone\n"
      "  caged-node init --listen tcp://10.0.0.1:7400 --store "
      "etcds://10.0.0.9:2379/fleet \\\n"
      "    --store-ca /etc/caged/etcd-ca.pem --store-user caged \\\n"
      "    --store-password-file /etc/caged/etcd-password\n"
      "  caged node token > TOKEN           then; other hosts join with it");
  const auto parsed = parse_setup(app, argc, argv, true);
  if (parsed.exit_code)
    return *parsed.exit_code;
  const auto& config = parsed.config;
  const auto text = config_text("Written by caged-node init.", parsed.given);
  const auto file = with.path();
  if (auto may = may_write_config(file, text, with.force); !may)
    return complain(may.error(), 1);
  const auto own = open_own_side(config);
  if (!own)
    return complain(own.error(), 1);
  const auto store = open_store(config);
  if (!store)
    return complain(store.error(), 1);
  const auto cluster = open_cluster(**store);
  if (!cluster)
    return complain(cluster.error(), 1);
  if (auto done = write_config(file, text, with.force); !done)
    return complain(done.error(), 1);
  say("cluster",
      cluster->id + (cluster->created ? "" : " (it exists already)"));
  say("node", own->directory->node_id());
  say("public key", own->key.public_key);
  say("config", file.string());
  say_how_to_start(file);
  if (config.store == "sqlite")
    std::printf("\nThis node keeps its own store; several hosts need etcd: "
                "--store etcd://...\n");
  else if (config.listen.empty())
    std::printf("\nWithout --listen tcp://ADDRESS:7400 no other host can "
                "join by this one.\n");
  else
    std::printf("  caged node token > TOKEN\n"
                "  caged-node join %s --token-file TOKEN   on each other "
                "host\n",
                config.listen.c_str());
  return 0;
}

// -- join ---------------------------------------------------------------------

/// Whether the store that was named is there for this host, too; it is said
/// when it is not, and no reason to give up.
void try_store(const node_config& config, const given_settings& settings,
               const std::string& cluster) {
  auto with = config;
  for (const auto& [name, value] : settings) {
    if (name == "store")
      with.store = value;
    else if (name == "store-ca")
      with.store_ca = value;
    else if (name == "store-cert")
      with.store_cert = value;
    else if (name == "store-key")
      with.store_key = value;
    else if (name == "store-user")
      with.store_user = value;
    else if (name == "store-password-file")
      with.store_password_file = value;
  }
  const auto store = open_store(with);
  const auto id = store ? (*store)->get("cluster/id")
                        : tl::unexpected<failure>(store.error());
  if (!id)
    std::fprintf(stderr,
                 "caged-node: the fleet's store cannot be used from this host "
                 "yet: %s\nhint: its address is %s; make that reachable before "
                 "the daemon starts\n",
                 id.error().message.c_str(), with.store.c_str());
  else if (!*id || (*id)->value != cluster)
    std::fprintf(stderr,
                 "caged-node: at %s is another store than the fleet's\n",
                 with.store.c_str());
}

int run_join(int argc, const char* const* argv) {
  common with;
  std::string endpoint, token_file;
  CLI::App app{"Adds this host to a cluster, as a new node: asks one that "
               "runs, with a token that it\nmade, for what a node needs, and "
               "writes the configuration file.",
               "caged-node join"};
  app.add_option("endpoint", endpoint,
                 "the node that made the token, tcp://HOST:7400")
      ->required();
  app.add_option("--token-file", token_file,
                 "file with the token, or - for stdin (default: the variable "
                 "CAGED_JOIN_TOKEN)");
  with.add_to(app);
  app.footer(
      "A token is used once. When the answer was lost, the same host may ask "
      "again for ten\nminutes. Where the store is and what it takes to use it "
      "comes from the node; the rest of\nthe settings from the flags and "
      "variables given.\n\nExamples:\n"
      "  caged-node join tcp://10.0.0.1:7400 --token-file TOKEN --listen "
      "tcp://10.0.0.2:7400\n"
      "  ssh 10.0.0.1 caged node token | caged-node join tcp://10.0.0.1:7400 "
      "--token-file -");
  // Before anything repeats it.
  for (int i = 1; i < argc; ++i)
    if (std::string_view{argv[i]}.find(join_token_prefix)
        != std::string_view::npos)
      return complain({ec::bad_request,
                       "a join token stands on the command line, where "
                       "everybody on this host can read it",
                       "give --token-file FILE, - for stdin, or set "
                       "CAGED_JOIN_TOKEN; and make another token"},
                      2);
  auto parsed = parse_setup(app, argc, argv, false);
  if (parsed.exit_code)
    return *parsed.exit_code;
  auto& config = parsed.config;
  if (!config.node_name.empty() && !is_valid_name(config.node_name))
    return complain({ec::bad_request,
                     caged::quoted(config.node_name) + " is no name of a node",
                     "take 1 to 63 of a-z, 0-9 and -, not - first"},
                    2);
  if (endpoint.rfind("tcp://", 0) != 0)
    return complain({ec::bad_request,
                     caged::quoted(endpoint) + " is no tcp://HOST:PORT",
                     "name the node that made the token: tcp://10.0.0.1:7400"},
                    2);
  const auto file = with.path();
  // Everything that can fail here comes before the token is used up.
  std::error_code none;
  if (fs::exists(file, none) && !with.force)
    return complain(may_write_config(file, {}, false).error(), 1);
  const auto token = read_join_token(token_file);
  ::unsetenv("CAGED_JOIN_TOKEN");
  if (!token)
    return complain(token.error(), 1);
  const auto own = open_own_side(config);
  if (!own)
    return complain(own.error(), 1);
  const auto& id = own->directory->node_id();
  const auto reply = ask_to_join(endpoint, *token,
                                 {id, config.node_name, own->key.public_key,
                                  CAGED_VERSION, token->cluster});
  if (!reply)
    return complain(reply.error(), 1);
  if (reply->cluster != token->cluster)
    return complain({ec::denied,
                     "the node is of cluster " + escape_text(reply->cluster)
                         + ", and the token of " + token->cluster,
                     "make another on that node: caged node token"},
                    1);
  const auto store = keep_access(config.data_dir, reply->store);
  if (!store)
    return complain(store.error(), 1);
  auto settings = parsed.given;
  settings.insert(settings.end(), store->begin(), store->end());
  if (auto done = write_config(
          file, config_text("Written by caged-node join.", settings),
          with.force);
      !done)
    return complain(done.error(), 1);
  say("cluster", reply->cluster);
  say("node", config.node_name.empty() ? id : config.node_name);
  say("public key", own->key.public_key);
  say("config", file.string());
  std::fflush(stdout);
  try_store(config, *store, reply->cluster);
  say_how_to_start(file);
  if (config.listen.empty())
    std::printf("\nWithout --listen tcp://ADDRESS:7400 other nodes cannot "
                "pass anything on to this one.\n");
  return 0;
}

} // namespace

bool is_setup(int argc, const char* const* argv) {
  return argc > 1
         && (std::string_view{argv[1]} == "init"
             || std::string_view{argv[1]} == "join");
}

int run_setup(int argc, const char* const* argv) {
  ::umask(077);
  return std::string_view{argv[1]} == "init" ? run_init(argc - 1, argv + 1)
                                             : run_join(argc - 1, argv + 1);
}

} // namespace caged
