#include "tests/support/test_node.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace caged::test {

namespace fs = std::filesystem;
using nlohmann::json;

test_node::test_node(std::vector<std::string> flags,
                     std::vector<std::string> under)
    : data_{dir_ / "data"},
      run_{dir_ / "run"},
      flags_{std::move(flags)},
      under_{std::move(under)} {
  auto given = std::find(flags_.begin(), flags_.end(), "--data-dir");
  if (given != flags_.end() && given + 1 != flags_.end()) {
    data_ = *(given + 1);
    flags_.erase(given, given + 2);
  }
}

test_node::~test_node() {
  auto left = clear();
  if (!left.empty())
    std::cerr << "left behind by a test node:\n" << left;
}

std::string test_node::endpoint() const {
  return "ipc://" + run_ + "/node.sock";
}

bool test_node::start() {
  auto argv = under_;
  argv.insert(argv.end(), {bin_dir() + "/caged-node", "--data-dir", data_,
                           "--run-dir", run_, "--client-endpoint", endpoint(),
                           "--metrics-address", "127.0.0.1:0"});
  if (std::find(flags_.begin(), flags_.end(), "--gateway-address")
      == flags_.end())
    argv.insert(argv.end(), {"--gateway-address", "127.0.0.1:0"});
  if (std::find(flags_.begin(), flags_.end(), "--agent-dir") == flags_.end())
    argv.insert(argv.end(), {"--agent-dir", bin_dir()});
  argv.insert(argv.end(), flags_.begin(), flags_.end());
  daemon_.reset();
  daemon_ = std::make_unique<background>(argv);
  bool up = eventually(20s, [&] {
    return !daemon_->alive() || caged({"node", "status"}).exit == 0;
  });
  return up && daemon_->alive();
}

int test_node::stop() {
  if (!daemon_)
    return 0;
  daemon_->signal(SIGTERM);
  return daemon_->wait(20s) ? daemon_->exit() : -1;
}

int test_node::ended(std::chrono::milliseconds timeout) {
  return daemon_ && daemon_->wait(timeout) ? daemon_->exit() : -1;
}

void test_node::kill() {
  if (!daemon_)
    return;
  ::kill(daemon_->pid(), SIGKILL);
  daemon_->wait(10s);
}

bool test_node::alive() {
  return daemon_ && daemon_->alive();
}

pid_t test_node::pid() {
  return daemon_ ? daemon_->pid() : 0;
}

std::string test_node::log() const {
  return daemon_ ? daemon_->err() : std::string{};
}

process_result test_node::caged(std::vector<std::string> args,
                                process_options options) const {
  args.insert(args.begin(), bin_dir() + "/caged");
  options.env["CAGED_ENDPOINT"] = endpoint();
  return run(args, options);
}

std::unique_ptr<background>
test_node::start_caged(std::vector<std::string> args,
                       process_options options) const {
  args.insert(args.begin(), bin_dir() + "/caged");
  options.env["CAGED_ENDPOINT"] = endpoint();
  return std::make_unique<background>(args, options);
}

std::string test_node::up(std::vector<std::string> flags) {
  std::vector<std::string> args = {"up", "--format", "json"};
  args.insert(args.end(), flags.begin(), flags.end());
  auto got = caged(args);
  if (got.exit == 0) {
    auto parsed = json::parse(got.out, nullptr, false);
    if (parsed.is_object() && parsed.contains("id"))
      return parsed["id"].get<std::string>();
  }
  std::cerr << "caged up: exit " << got.exit << ": " << got.err << got.out
            << "\n";
  return {};
}

std::string test_node::state(const std::string& sandbox) const {
  auto got = caged({"get", sandbox, "--format", "json"});
  auto parsed = json::parse(got.out, nullptr, false);
  return parsed.is_object() ? parsed.value("state", std::string{})
                            : std::string{};
}

bool test_node::why_says(const std::string& sandbox,
                         const std::string& text) const {
  return caged({"why", sandbox}).out.find(text) != std::string::npos;
}

pid_t test_node::init_of(const std::string& sandbox) const {
  // The audit names every process of a sandbox; the init is the one that is
  // PID 1 inside.
  auto got = caged({"node", "audit", "--format", "json"});
  auto parsed = json::parse(got.out, nullptr, false);
  auto rows = parsed.is_object() ? parsed.value("rows", json::array()) : parsed;
  for (const auto& row : rows) {
    if (!row.is_object() || row.value("kind", "") != "process"
        || row.value("sandbox", "") != sandbox)
      continue;
    auto pid = std::atoi(row.value("name", "").c_str());
    if (is_init(pid))
      return pid;
  }
  return 0;
}

std::vector<pid_t> test_node::processes_of(const std::string& sandbox) const {
  std::error_code none;
  auto space = [&](const std::string& pid) {
    return fs::read_symlink("/proc/" + pid + "/ns/pid", none).string();
  };
  auto init = init_of(sandbox);
  auto wanted = init == 0 ? std::string{} : space(std::to_string(init));
  std::vector<pid_t> out;
  if (wanted.empty())
    return out;
  for (const auto& entry : fs::directory_iterator("/proc", none)) {
    auto pid = entry.path().filename().string();
    if (pid.find_first_not_of("0123456789") == std::string::npos
        && space(pid) == wanted)
      out.push_back(std::stoi(pid));
  }
  return out;
}

std::string test_node::metrics_address() const {
  auto text = read_file(run_ + "/metrics-address");
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

std::string test_node::metrics() const {
  auto address = metrics_address();
  auto colon = address.rfind(':');
  if (colon == std::string::npos)
    return {};
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string out;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) {
    const std::string ask =
        "GET /metrics HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    if (::write(fd, ask.data(), ask.size())
        == static_cast<ssize_t>(ask.size())) {
      char buffer[65536];
      for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
        out.append(buffer, static_cast<std::size_t>(n));
    }
  }
  ::close(fd);
  auto body = out.find("\r\n\r\n");
  return body == std::string::npos ? std::string{} : out.substr(body + 4);
}

std::optional<double> test_node::series(const std::string& start) const {
  std::istringstream lines{metrics()};
  for (std::string line; std::getline(lines, line);)
    if (line.rfind(start, 0) == 0)
      return std::stod(line.substr(line.rfind(' ') + 1));
  return {};
}

std::string test_node::clear() {
  if (!daemon_)
    return {};
  if (!daemon_->alive() && !start())
    return "the node could not be started to clear it: " + log();
  std::string left;
  auto audit = caged({"node", "audit", "--format", "json"});
  auto parsed = json::parse(audit.out, nullptr, false);
  auto rows = parsed.is_object() ? parsed.value("rows", json::array()) : parsed;
  for (const auto& row : rows)
    if (row.value("verdict", "") == "orphan")
      left += "orphan " + row.value("kind", "") + " " + row.value("name", "")
              + "\n";
  auto done = caged({"node", "shutdown", "--destroy-all"}, within(120s));
  if (done.exit != 0)
    left += "shutdown --destroy-all: exit " + std::to_string(done.exit)
            + (done.timed_out ? ", timed out: " : ": ") + done.err + "\n";
  if (!daemon_->wait(20s)) {
    left += "the daemon did not end\n";
    kill();
  }
  daemon_.reset();
  for (const char* kept : {"sandboxes", "exec-logs"}) {
    std::error_code none;
    for (const auto& item : fs::directory_iterator(data_ + "/" + kept, none))
      left += "file " + item.path().string() + "\n";
  }
  return left;
}

process_options within(std::chrono::milliseconds timeout) {
  process_options out;
  out.timeout = timeout;
  return out;
}

process_options with_input(std::string in, std::chrono::milliseconds timeout) {
  auto out = within(timeout);
  out.in = std::move(in);
  return out;
}

void skip(const std::string& reason) {
  std::cout << "SKIPPED: " << reason << std::endl;
}

} // namespace caged::test
