#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "nodes/etcd/http.hpp"
#include "nodes/etcd/options.hpp"
#include "tests/support/process.hpp"

namespace caged::test {

struct etcd_setup {
  unsigned members = 1;
  bool tls = false; ///< with an authority of its own; clients need certificates
  std::vector<std::string> flags = {}; ///< added to each member's
};

/// Real etcd processes on free ports of loopback, on data of their own, which
/// is gone with them.
class etcd_cluster {
public:
  explicit etcd_cluster(etcd_setup setup = {});

  /// Empty: etcd is there and can be started; otherwise why not.
  static std::string missing();
  /// False: it has said why the case cannot be run here.
  static bool can_run();

  /// All members; until all answer. False: they do not.
  bool start();
  void start(unsigned member);
  void kill(unsigned member); ///< SIGKILL
  void signal(unsigned member, int number);
  pid_t pid(unsigned member) const { return members_[member].process->pid(); }
  std::string log(unsigned member) const;

  /// Whether it answers a read that needs a majority.
  bool answers(unsigned member);
  /// As its members say; waits for one.
  std::optional<unsigned> leader();

  /// Of a store on these members, the given one first.
  etcd_options options(unsigned first = 0) const;
  etcd_endpoint endpoint(unsigned member) const;
  const temp_dir& files() const { return dir_; } ///< ca.pem, cert.pem, key.pem

  /// One call of the JSON gateway; null when there is no answer or a refusal.
  nlohmann::json call(const std::string& path, const nlohmann::json& body,
                      unsigned member = 0, const std::string& token = {});
  std::int64_t revision(unsigned member = 0);

private:
  struct one_member {
    std::uint16_t client_port = 0, peer_port = 0;
    std::unique_ptr<background> process;
  };
  void make_certificates() const;

  const etcd_setup setup_;
  temp_dir dir_;
  std::vector<one_member> members_;
};

} // namespace caged::test
