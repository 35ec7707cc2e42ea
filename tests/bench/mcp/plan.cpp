#include "tests/bench/mcp/plan.hpp"

#include <optional>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/mcp/ws_client.hpp"

namespace caged::bench {

namespace {

using sort = contender::sort;

/// What the same operation is called by each server.
class vocabulary {
public:
  vocabulary(sort kind, const surroundings& where)
      : npm_{kind == sort::npm}, files_{where.files}, tree_{where.tree} {}
  request ping() const { return {"ping"}; }
  request tools_list() const { return {"tools/list"}; }
  request read(const std::string& name) const {
    return npm_ ? tool_call("read_text_file", {{"path", in_files(name)}})
                : tool_call("file_read", {{"path", name}});
  }
  request write() const {
    const std::string text(1024, 'y');
    return npm_ ? tool_call("write_file",
                            {{"path", in_files("out.txt")}, {"content", text}})
                : tool_call("file_write",
                            {{"path", "out.txt"}, {"content", text}});
  }
  request list() const {
    return npm_ ? tool_call("list_directory_with_sizes",
                            {{"path", in_files("many")}})
                : tool_call("file_list", {{"path", "many"}});
  }
  request search() const {
    return npm_ ? tool_call("search_files",
                            {{"path", tree_}, {"pattern", "**/needle-*.txt"}})
                : tool_call("file_search", {{"pattern", "**/needle-*.txt"}});
  }
  request exec(const std::string& command) const {
    return tool_call("terminal_exec", {{"command", command}});
  }

private:
  std::string in_files(const std::string& name) const {
    return files_ + "/" + name;
  }
  bool npm_;
  std::string files_, tree_;
};

std::vector<std::string> stdio_command(const contender& who,
                                       const std::string& workspace) {
  auto out = who.command;
  if (who.kind == sort::caged)
    out.insert(out.end(), {"--mode", "stdio", "--workspace", workspace});
  else if (who.kind == sort::npm)
    out.push_back(workspace);
  return out;
}

class round {
public:
  round(const contender& who, const surroundings& where, samples& into)
      : who_{who},
        where_{where},
        rows_{into[who.name]},
        words_{who.kind, where} {
    if (where.quick)
      much_ = {0.05, 1};
  }
  void starts();
  void files();
  void execs();
  void searches();
  void gits();
  void web();

private:
  void add(const std::string& row, const figures& all) {
    rows_[row].push_back(sample::of(all));
  }
  void memory(const std::string& row, const server_process& of) {
    rows_["memory: " + row].push_back(sample::of_value(of.peak_mb()));
  }

  const contender& who_;
  const surroundings& where_;
  std::map<std::string, std::vector<sample>>& rows_;
  vocabulary words_;
  effort much_;
};

void round::starts() {
  std::size_t n = where_.quick ? 1 : who_.kind == sort::npm ? 3 : 20;
  figures all;
  for (std::size_t i = 0; i < n; ++i) {
    auto from = clock::now();
    server_process server{stdio_command(who_, where_.files), where_.log};
    pipe_client client{server};
    client.initialize();
    std::chrono::duration<double, std::micro> took = clock::now() - from;
    all.each_us.push_back(took.count());
    if (i == 0)
      memory("start", server);
  }
  add("start", all);
}

void round::files() {
  server_process server{stdio_command(who_, where_.files), where_.log};
  pipe_client client{server};
  client.initialize();
  bool real = who_.kind != sort::floor;
  {
    one_cpu shared{server};
    add("ping", client.sequence(words_.ping(), much_));
    if (real)
      add("tools_list", client.sequence(words_.tools_list(), much_));
    add("read_1k", client.sequence(words_.read("1k.txt"), much_));
  }
  add("write_1k", client.sequence(words_.write(), much_));
  if (real) {
    add("read_1m", client.sequence(words_.read("1m.txt"), much_));
    add("list_1000", client.sequence(words_.list(), much_));
  }
  constexpr std::size_t window = 64;
  add("pipe64_ping", client.pipeline(words_.ping(), window, much_));
  add("pipe64_read_1k", client.pipeline(words_.read("1k.txt"), window, much_));
  add("pipe64_write_1k", client.pipeline(words_.write(), window, much_));
  memory("files", server);
}

void round::execs() {
  server_process server{stdio_command(who_, where_.files), where_.log};
  pipe_client client{server};
  client.initialize();
  add("exec_true", client.sequence(words_.exec("true"), much_));
  add("exec_echo", client.sequence(words_.exec("echo hello"), much_));
  add("pipe64_exec_true", client.pipeline(words_.exec("true"), 64, much_));
  add("ping_during_exec",
      client.during(words_.exec("sleep 1"), words_.ping(), 50));
}

void round::searches() {
  server_process server{stdio_command(who_, where_.tree), where_.log};
  pipe_client client{server};
  client.initialize();
  auto found = client.ask(words_.search()).dump();
  for (const char* name : {"needle-00.txt", "needle-19.txt"})
    if (found.find(name) == std::string::npos)
      throw std::runtime_error("the search does not find " + std::string{name}
                               + ": " + found.substr(0, 500));
  auto few = much_;
  few.least = where_.quick ? 1 : 2; // npm takes seconds
  add("search_20k", client.sequence(words_.search(), few));
  memory("search", server);
  if (who_.kind == sort::caged)
    add("search_during_exec",
        client.during(words_.exec("sleep 1"), words_.search(), 5));
}

void round::gits() {
  server_process server{stdio_command(who_, where_.repo), where_.log};
  pipe_client client{server};
  client.initialize();
  auto status = tool_call("git_status", json::object());
  auto diff = tool_call("git_diff", json::object());
  // A server that says nothing would be the fastest.
  for (const auto& [what, part] :
       {std::pair{status, "changed-3.txt"}, {diff, "+a changed line"}})
    if (client.ask(what).dump().find(part) == std::string::npos)
      throw std::runtime_error(what.params.dump() + " does not say " + part);
  add("git_status", client.sequence(status, much_));
  add("git_log", client.sequence(tool_call("git_log", {{"count", 10}}), much_));
  add("git_diff", client.sequence(diff, much_));
  add("pipe16_git_status", client.pipeline(status, 16, much_));
  memory("git", server);
}

/// A port that is free now.
std::uint16_t free_port() {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  bool good =
      ::bind(fd, reinterpret_cast<sockaddr*>(&at), size) == 0
      && ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0;
  ::close(fd);
  if (!good)
    throw std::runtime_error("there is no free port on 127.0.0.1");
  return ntohs(at.sin_port);
}

bool accepts(std::uint16_t port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool good = ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  ::close(fd);
  return good;
}

void round::web() {
  auto port = free_port();
  auto command = who_.command;
  command.insert(command.end(), {"--mode", "ws", "--port", std::to_string(port),
                                 "--workspace", where_.files});
  server_process server{command, where_.log};
  auto until = clock::now() + std::chrono::seconds(10);
  while (!accepts(port)) {
    if (clock::now() > until)
      throw std::runtime_error("it does not listen on port "
                               + std::to_string(port));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (std::size_t clients : {1U, 64U, 512U}) {
    auto name = "ws" + std::to_string(clients);
    auto ping = ws_load(server, port, clients, words_.ping(), much_);
    add(name + "_ping", ping.all);
    auto read = ws_load(server, port, clients, words_.read("1k.txt"), much_);
    add(name + "_read_1k", read.all);
    rows_["connect: " + name].push_back(
        sample::of_value(ping.connect_ms * 1e3));
    memory(name, server);
  }
}

} // namespace

std::vector<std::string>
measure_server(const contender& who, const surroundings& where, samples& into) {
  std::vector<void (round::*)()> parts{&round::starts, &round::files};
  if (who.kind != sort::floor)
    parts.push_back(&round::searches);
  if (who.kind == sort::caged)
    parts.insert(parts.end(), {&round::execs, &round::gits, &round::web});
  round now{who, where, into};
  std::vector<std::string> failures;
  for (auto part : parts) {
    try {
      (now.*part)();
    } catch (const std::exception& error) {
      failures.emplace_back(error.what());
    }
  }
  return failures;
}

void measure_memory(const surroundings& where, samples& into) {
  const std::vector<std::string> git{"git", "status", "--porcelain"};
  into["machine"]["memory: git status"].push_back(
      sample::of_value(spawn(git, where.repo).peak_mb));
}

void measure_machine(const surroundings& where, samples& into) {
  const std::pair<const char*, std::vector<std::string>> programs[] = {
      {"true", {"true"}},
      {"sh -c true", {"sh", "-c", "true"}},
      {"git status", {"git", "status", "--porcelain"}},
      {"git log -n10", {"git", "log", "-n10"}},
      {"git diff", {"git", "diff"}},
      {"find by name", {"find", where.tree, "-name", "needle-*.txt"}},
  };
  for (const auto& [name, argv] : programs) {
    figures all;
    for (int i = 0; i < (where.quick ? 3 : 25); ++i)
      all.each_us.push_back(spawn(argv, where.repo).us);
    into["machine"][name].push_back(sample::of(all));
  }
  // What a list with sizes cannot do without.
  figures looks;
  for (int i = 0; i < (where.quick ? 3 : 25); ++i)
    looks.each_us.push_back(stat_time(where.files + "/many", 1000));
  into["machine"]["fstatat of 1000 files"].push_back(sample::of(looks));
}

} // namespace caged::bench
