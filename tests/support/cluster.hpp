#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "actors/store.hpp"
#include "nodes/etcd/options.hpp"
#include "tests/support/test_node.hpp"

namespace caged::test {

/// `caged` with an admin's key, by a context of a cluster: one node over tcp,
/// or all of them, of which the first that answers is taken.
class cluster_client {
public:
  /// `folder` holds the contexts (XDG_CONFIG_HOME).
  cluster_client(std::string folder, std::string context)
      : folder_{std::move(folder)}, context_{std::move(context)} {}

  /// Runs `caged ARGS`.
  process_result caged(std::vector<std::string> args,
                       process_options options = {}) const;
  /// `caged ARGS` in the background.
  std::unique_ptr<background> start_caged(std::vector<std::string> args,
                                          process_options options = {}) const;
  /// `caged up` with flags; the id, or an empty string and a note on stderr.
  std::string up(std::vector<std::string> flags = {}) const;
  /// The state in `caged get`: "running", ...; empty when it is unknown.
  std::string state(const std::string& sandbox) const;

private:
  process_options with(process_options options) const;
  std::string folder_, context_;
};

/// What ops/cluster-local makes, in a directory of its own: nodes and members
/// of etcd in network namespaces, known by their names: "n1", "m1". The
/// destructor takes all of it down and throws nothing; a test that cares calls
/// down() and leftovers(). Needs root.
class test_cluster {
public:
  /// So many nodes, with these flags.
  explicit test_cluster(unsigned nodes = 3,
                        std::vector<std::string> flags = {});
  ~test_cluster();

  /// Empty: one can be made here; otherwise why not.
  static std::string missing();
  /// False: it has said why the case cannot be run here.
  static bool can_run();
  /// The source tree, where ops/ and README.md are.
  static std::string root();

  /// `ops/cluster-local up`. False: a note on stderr.
  bool up();
  /// `ops/cluster-local down`.
  process_result down();
  /// `ops/cluster-local ARGS`, at most two minutes.
  process_result run(std::vector<std::string> args) const;
  /// The same for what must work: {"cut", "n1"}. A note on stderr if not.
  bool does(std::vector<std::string> args) const;

  /// Through one node over tcp, from 1 on; its own are "n1", ....
  cluster_client node(unsigned number) const;
  /// Through whichever answers first.
  cluster_client any() const;
  /// Through one node over its Unix socket, as root of its host: no cut is in
  /// the way.
  process_result local(unsigned number, std::vector<std::string> args) const;

  /// Of a daemon or a member of etcd; 0: it was never started.
  pid_t pid(const std::string& name) const;
  std::string address(const std::string& name) const;
  std::string log(const std::string& name) const;
  std::string node_id(unsigned number) const;

  /// The nodes' own store, through all members.
  etcd_options store_options() const;
  /// Opened for the test.
  std::unique_ptr<store> open_store() const;
  /// Names of the nodes that have a lease, in order: {"n1", "n2"}.
  std::vector<std::string> live(store& in) const;

  /// What there is of this cluster and was not before it was made, as
  /// ops/lib/leftovers.sh sees it, one a line; 10 s of grace for what the
  /// kernel frees later.
  std::string leftovers() const;

  unsigned nodes() const { return nodes_; }
  std::string dir() const { return dir_ / "c"; }
  /// Variables under which the script finds this cluster and the programs.
  process_options environment(std::chrono::milliseconds timeout) const;

private:
  std::string file(const std::string& name, const char* what) const;
  void look(const std::string& when) const;
  bool is_ours(const std::string& line) const;
  std::string mark() const;

  const unsigned nodes_;
  const std::vector<std::string> flags_;
  temp_dir dir_, looks_;
  std::set<std::string> ids_; ///< of nodes and of the host's link
};

} // namespace caged::test
