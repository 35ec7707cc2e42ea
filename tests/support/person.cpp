#include "tests/support/person.hpp"

#include <iostream>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace caged::test {

std::vector<std::string> listening(int port) {
  return {"--listen", "tcp://127.0.0.1:" + std::to_string(port)};
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  int port = 0;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0
      && ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0)
    port = ntohs(at.sin_port);
  ::close(fd);
  return port;
}

std::string tcp_endpoint(const test_node& node) {
  auto text = read_file(node.run_dir() + "/listen-address");
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

person::person(const test_node& node, std::string name, const std::string& role)
    : name_{std::move(name)} {
  go_to(node);
  auto made = bare({"key", "create", name_});
  if (made.exit != 0)
    std::cerr << "caged key create: " << made.err << "\n";
  if (role.empty())
    return;
  auto done = node.caged({"key", "authorize", public_file(), "--role", role});
  if (done.exit != 0)
    std::cerr << "caged key authorize: " << done.err << "\n";
}

void person::go_to(const test_node& node) {
  endpoint = tcp_endpoint(node);
  const auto status = nlohmann::json::parse(
      node.caged({"node", "status", "--format", "json"}).out, nullptr, false);
  server_key = status.is_object() ? status.value("public_key", "") : "";
}

std::string person::key_file() const {
  return dir_ / ("caged/keys/" + name_);
}

process_options person::with(process_options options) const {
  options.env["XDG_CONFIG_HOME"] = dir_.path();
  return options;
}

process_result person::bare(std::vector<std::string> args) const {
  args.insert(args.begin(), bin_dir() + "/caged");
  auto options = with(within(30s));
  for (const auto* each :
       {"CAGED_ENDPOINT", "CAGED_SERVER_KEY", "CAGED_KEY", "CAGED_CONTEXT"})
    options.env[each] = "";
  return run(args, options);
}

process_result person::caged(std::vector<std::string> args,
                             process_options options) const {
  options.env["CAGED_ENDPOINT"] = endpoint;
  options.env["CAGED_SERVER_KEY"] = server_key;
  options.env["CAGED_KEY"] = key_file();
  args.insert(args.begin(), bin_dir() + "/caged");
  return run(args, with(std::move(options)));
}

std::unique_ptr<background> person::start_caged(std::vector<std::string> args,
                                                process_options options) const {
  options.env["CAGED_ENDPOINT"] = endpoint;
  options.env["CAGED_SERVER_KEY"] = server_key;
  options.env["CAGED_KEY"] = key_file();
  args.insert(args.begin(), bin_dir() + "/caged");
  return std::make_unique<background>(args, with(std::move(options)));
}

bool person::up(const std::string& name) const {
  const auto got = caged({"up", "--name", name, "--no-config"});
  if (got.exit != 0)
    std::cerr << "caged up: " << got.err << "\n";
  return got.exit == 0;
}

} // namespace caged::test
