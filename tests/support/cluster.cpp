#include "tests/support/cluster.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <sstream>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "nodes/etcd/etcd_store.hpp"

namespace caged::test {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

/// What is set here is not meant for a cluster of the test's own.
constexpr const char* not_ours[] = {"CAGED_ENDPOINT", "CAGED_SERVER_KEY",
                                    "CAGED_KEY", "CAGED_CONTEXT"};

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

} // namespace

process_options cluster_client::with(process_options options) const {
  for (const auto* each : not_ours)
    options.env.emplace(each, "");
  options.env["XDG_CONFIG_HOME"] = folder_;
  options.env["CAGED_CONTEXT"] = context_;
  return options;
}

process_result cluster_client::caged(std::vector<std::string> args,
                                     process_options options) const {
  args.insert(args.begin(), bin_dir() + "/caged");
  return run(args, with(std::move(options)));
}

std::unique_ptr<background>
cluster_client::start_caged(std::vector<std::string> args,
                            process_options options) const {
  args.insert(args.begin(), bin_dir() + "/caged");
  return std::make_unique<background>(args, with(std::move(options)));
}

std::string cluster_client::up(std::vector<std::string> flags) const {
  std::vector<std::string> args = {"up", "--no-config", "--format", "json"};
  args.insert(args.end(), flags.begin(), flags.end());
  const auto got = caged(args);
  const auto parsed = json::parse(got.out, nullptr, false);
  if (got.exit == 0 && parsed.is_object() && parsed.contains("id"))
    return parsed["id"].get<std::string>();
  std::cerr << "caged up: exit " << got.exit << ": " << got.err << got.out
            << "\n";
  return {};
}

std::string cluster_client::state(const std::string& sandbox) const {
  const auto got = caged({"get", sandbox, "--format", "json"});
  const auto parsed = json::parse(got.out, nullptr, false);
  return parsed.is_object() ? parsed.value("state", std::string{})
                            : std::string{};
}

test_cluster::test_cluster(unsigned nodes, std::vector<std::string> flags)
    : nodes_{nodes}, flags_{std::move(flags)} {
  look("before");
}

test_cluster::~test_cluster() {
  try {
    if (const auto done = down(); done.exit != 0)
      std::cerr << "ops/cluster-local down: exit " << done.exit << ": "
                << done.err << "\n";
  } catch (const std::exception& e) {
    std::cerr << "ops/cluster-local down: " << e.what() << "\n";
  }
}

bool test_cluster::can_run() {
  const auto why = missing();
  if (!why.empty())
    skip(why);
  return why.empty();
}

std::string test_cluster::missing() {
  if (::geteuid() != 0)
    return "network namespaces need root";
  if (test::run({"etcd", "--version"}).exit != 0)
    return "there is no etcd here; ops/deps installs it";
  if (test::run({"curl", "--version"}).exit != 0)
    return "there is no curl here; ops/deps installs it";
  if (!fs::exists(root() + "/ops/cluster-local"))
    return "the programs are not in a build folder of the sources";
  return "";
}

std::string test_cluster::root() {
  return fs::weakly_canonical(bin_dir() + "/../../..").string();
}

process_options
test_cluster::environment(std::chrono::milliseconds timeout) const {
  auto out = within(timeout);
  for (const auto* each : not_ours)
    out.env[each] = "";
  out.env["CAGED_CLUSTER_DIR"] = dir();
  out.env["CAGED_BIN_DIR"] = fs::absolute(bin_dir()).string();
  out.env["SUDO_UID"] = "";
  out.env["CAGED_TEST_RUN"] = mark();
  out.cwd = root();
  return out;
}

process_result test_cluster::run(std::vector<std::string> args) const {
  args.insert(args.begin(), root() + "/ops/cluster-local");
  return test::run(args, environment(120s));
}

bool test_cluster::does(std::vector<std::string> args) const {
  const auto got = run(args);
  if (got.exit != 0)
    std::cerr << "ops/cluster-local " << args[0] << ": exit " << got.exit
              << ": " << got.err << "\n";
  return got.exit == 0;
}

bool test_cluster::up() {
  std::vector<std::string> args = {"up", "--nodes", std::to_string(nodes_)};
  if (!flags_.empty())
    args.emplace_back("--");
  args.insert(args.end(), flags_.begin(), flags_.end());
  const bool done = does(args);
  for (unsigned i = 1; i <= nodes_; ++i)
    ids_.insert(node_id(i));
  ids_.insert(trimmed(read_file(file("host", "link"))));
  ids_.erase("");
  return done;
}

process_result test_cluster::down() {
  return run({"down"});
}

cluster_client test_cluster::node(unsigned number) const {
  return {dir() + "/client", "n" + std::to_string(number)};
}

cluster_client test_cluster::any() const {
  return {dir() + "/client", "cluster"};
}

process_result test_cluster::local(unsigned number,
                                   std::vector<std::string> args) const {
  auto options = environment(30s);
  args.insert(args.begin(), options.env["CAGED_BIN_DIR"] + "/caged");
  options.env["CAGED_ENDPOINT"] =
      "ipc://" + dir() + "/n" + std::to_string(number) + "/run/node.sock";
  return test::run(args, options);
}

std::string test_cluster::file(const std::string& name,
                               const char* what) const {
  return dir() + "/" + name + "/" + what;
}

pid_t test_cluster::pid(const std::string& name) const {
  return std::atoi(read_file(file(name, "pid")).c_str());
}

std::string test_cluster::address(const std::string& name) const {
  return trimmed(read_file(file(name, "address")));
}

std::string test_cluster::log(const std::string& name) const {
  return read_file(file(name, "log"));
}

std::string test_cluster::node_id(unsigned number) const {
  return trimmed(read_file(file("n" + std::to_string(number), "data/node-id")));
}

etcd_options test_cluster::store_options() const {
  etcd_options out;
  for (const auto* member : {"m1", "m2", "m3"})
    out.endpoints.push_back({address(member), 2379});
  out.tls = true;
  out.ca_file = file("tls", "ca.pem");
  out.cert_file = file("tls", "etcd.pem");
  out.key_file = file("tls", "etcd.key");
  out.user = "caged";
  out.password_file = dir() + "/etcd-password";
  return out;
}

std::unique_ptr<store> test_cluster::open_store() const {
  auto made = open_etcd_store(store_options());
  if (!made)
    throw std::runtime_error{made.error().message};
  return std::move(*made);
}

std::vector<std::string> test_cluster::live(store& in) const {
  std::vector<std::string> out;
  for (unsigned i = 1; i <= nodes_; ++i) {
    const auto got = in.get("nodes/" + node_id(i) + "/live");
    if (got && *got)
      out.push_back("n" + std::to_string(i));
  }
  return out;
}

/// By the functions of ops/lib/leftovers.sh, on files of our own.
void test_cluster::look(const std::string& when) const {
  auto options = within(60s);
  options.env["logs"] = looks_.path();
  options.env["root"] = root();
  options.env["mark"] = mark();
  const auto got = test::run(
      {"bash", "-euc",
       "source \"$root/ops/lib/leftovers.sh\"; export CAGED_TEST_RUN=$mark; "
       "leftovers_now \"$logs/"
           + when + "\""},
      options);
  if (got.exit != 0)
    throw std::runtime_error{"ops/lib/leftovers.sh: " + got.err};
}

std::string test_cluster::leftovers() const {
  std::string out;
  eventually(10s, [&] {
    look("after");
    out.clear();
    const auto new_ones =
        test::run({"comm", "-13", looks_ / "before", looks_ / "after"});
    std::istringstream lines{new_ones.out};
    for (std::string line; std::getline(lines, line);)
      if (is_ours(line))
        out += line + "\n";
    if (fs::exists(dir()))
      out += "file " + dir() + "\n";
    return out.empty();
  });
  return out;
}

/// Other tests come and go meanwhile.
bool test_cluster::is_ours(const std::string& line) const {
  return line.starts_with("process ") || line.find(dir()) != std::string::npos
         || std::any_of(ids_.begin(), ids_.end(), [&](const auto& id) {
              return line.find(id) != std::string::npos;
            });
}

/// What every process of the cluster has in its environment.
std::string test_cluster::mark() const {
  return "cluster." + dir();
}

} // namespace caged::test
