#include "tests/support/etcd.hpp"
#include "tests/support/test_node.hpp"

#include <csignal>
#include <stdexcept>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace caged::test {

namespace {

/// Ports that were free when all of them were held at once.
std::vector<std::uint16_t> free_ports(std::size_t count) {
  std::vector<int> held;
  std::vector<std::uint16_t> out;
  for (std::size_t i = 0; i < count; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&at), size) != 0
        || ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0)
      throw std::runtime_error{"no free port on loopback"};
    held.push_back(fd);
    out.push_back(ntohs(at.sin_port));
  }
  for (const int fd : held)
    ::close(fd);
  return out;
}

void must(const std::vector<std::string>& argv) {
  if (const auto done = run(argv); done.exit != 0)
    throw std::runtime_error{argv[0] + ": " + done.err};
}

bool knows(const std::string& flag) {
  static const auto help = run({"etcd", "--help"});
  return (help.out + help.err).find(flag) != std::string::npos;
}

} // namespace

bool etcd_cluster::can_run() {
  const auto why = missing();
  if (!why.empty())
    skip(why);
  return why.empty();
}

std::string etcd_cluster::missing() {
  const auto version = run({"etcd", "--version"});
  return version.exit == 0 ? "" : "there is no etcd here; ops/deps installs it";
}

etcd_cluster::etcd_cluster(etcd_setup setup) : setup_{std::move(setup)} {
  const auto ports = free_ports(std::size_t{2} * setup_.members);
  members_.resize(setup_.members);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    members_[i].client_port = ports[2 * i];
    members_[i].peer_port = ports[2 * i + 1];
  }
  if (setup_.tls)
    make_certificates();
}

/// An authority, and one certificate that serves members and clients alike.
/// Without a common name: etcd's JSON gateway refuses clients that have one
/// when there are users.
void etcd_cluster::make_certificates() const {
  must({"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days",
        "2", "-subj", "/CN=test authority", "-keyout", dir_ / "ca.key", "-out",
        dir_ / "ca.pem"});
  must({"openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=caged",
        "-keyout", dir_ / "key.pem", "-out", dir_ / "csr.pem"});
  write_file(dir_ / "names", "subjectAltName=IP:127.0.0.1\n");
  must({"openssl", "x509", "-req", "-days", "2", "-in", dir_ / "csr.pem", "-CA",
        dir_ / "ca.pem", "-CAkey", dir_ / "ca.key", "-CAcreateserial",
        "-extfile", dir_ / "names", "-out", dir_ / "cert.pem"});
}

void etcd_cluster::start(unsigned number) {
  auto& mine = members_[number];
  const auto name = "m" + std::to_string(number);
  const std::string scheme = setup_.tls ? "https" : "http";
  const auto clients =
      scheme + "://127.0.0.1:" + std::to_string(mine.client_port);
  auto peer = [](const one_member& one) {
    return "http://127.0.0.1:" + std::to_string(one.peer_port);
  };
  std::string all;
  for (std::size_t i = 0; i < members_.size(); ++i)
    all += (i ? ",m" : "m") + std::to_string(i) + "=" + peer(members_[i]);
  std::vector<std::string> argv = {"etcd",      "--name",
                                   name,        "--data-dir",
                                   dir_ / name, "--listen-client-urls",
                                   clients,     "--advertise-client-urls",
                                   clients,     "--listen-peer-urls",
                                   peer(mine),  "--initial-advertise-peer-urls",
                                   peer(mine),  "--initial-cluster",
                                   all,         "--initial-cluster-state",
                                   "new",       "--initial-cluster-token",
                                   dir_.path(), "--logger",
                                   "zap",       "--log-outputs",
                                   "stderr",    "--log-level",
                                   "error"};
  if (setup_.tls)
    argv.insert(argv.end(), {"--client-cert-auth", "--trusted-ca-file",
                             dir_ / "ca.pem", "--cert-file", dir_ / "cert.pem",
                             "--key-file", dir_ / "key.pem"});
  if (knows("unsafe-no-fsync"))
    argv.emplace_back("--unsafe-no-fsync");
  argv.insert(argv.end(), setup_.flags.begin(), setup_.flags.end());
  mine.process = std::make_unique<background>(argv);
}

bool etcd_cluster::start() {
  for (unsigned i = 0; i < members_.size(); ++i)
    start(i);
  return eventually(patient(60s), [this] {
    for (unsigned i = 0; i < members_.size(); ++i)
      if (!answers(i))
        return false;
    return true;
  });
}

void etcd_cluster::kill(unsigned number) {
  members_[number].process->signal(SIGKILL);
  members_[number].process->wait(10s);
}

void etcd_cluster::signal(unsigned number, int what) {
  members_[number].process->signal(what);
}

std::string etcd_cluster::log(unsigned number) const {
  return members_[number].process->err();
}

etcd_endpoint etcd_cluster::endpoint(unsigned number) const {
  return {"127.0.0.1", members_[number].client_port};
}

etcd_options etcd_cluster::options(unsigned first) const {
  etcd_options out;
  for (unsigned i = 0; i < members_.size(); ++i)
    out.endpoints.push_back(
        endpoint((first + i) % static_cast<unsigned>(members_.size())));
  out.prefix = "test/fleet";
  if (setup_.tls) {
    out.tls = true;
    out.ca_file = dir_ / "ca.pem";
    out.cert_file = dir_ / "cert.pem";
    out.key_file = dir_ / "key.pem";
  }
  return out;
}

nlohmann::json etcd_cluster::call(const std::string& path,
                                  const nlohmann::json& body, unsigned number,
                                  const std::string& token) {
  auto with = etcd::make_dialer(options());
  if (!with)
    throw std::runtime_error{with.error().message};
  auto link = etcd::make_connection(*with, endpoint(number));
  auto got =
      link->post(path, body.dump(), token, etcd::steady::now() + patient(2s));
  if (!got || got->status != 200)
    return nullptr;
  return nlohmann::json::parse(got->body, nullptr, false);
}

bool etcd_cluster::answers(unsigned number) {
  return call("/v3/kv/range", {{"key", "YQ=="}}, number).is_object();
}

std::int64_t etcd_cluster::revision(unsigned number) {
  const auto got = call("/v3/kv/range", {{"key", "YQ=="}}, number);
  return std::stoll(got["header"]["revision"].get<std::string>());
}

std::optional<unsigned> etcd_cluster::leader() {
  std::optional<unsigned> out;
  eventually(patient(20s), [&] {
    for (unsigned i = 0; i < members_.size(); ++i) {
      const auto got =
          call("/v3/maintenance/status", nlohmann::json::object(), i);
      if (!got.is_object() || !got.contains("leader"))
        continue;
      if (got["leader"] == got["header"]["member_id"])
        out = i;
    }
    return out.has_value();
  });
  return out;
}

} // namespace caged::test
