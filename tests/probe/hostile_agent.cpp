// An agent that lies: what a tenant would put in the agent's place if they
// could. It runs as PID 1 of a sandbox, from an agent directory where it has
// the name caged-agent and the real one the name caged-agent.real. The
// sandbox's working directory chooses the lie: /hostile/LIE; any other starts
// the real agent, so that an honest sandbox can stand beside.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/agent_protocol.hpp"

using nlohmann::json;
namespace ap = caged::agent_protocol;

namespace {

constexpr const char* socket_path = "/run/caged/agent.sock";
constexpr std::string_view mark = "/hostile/";

void say(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0)
      return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void data(int fd, const std::string& exec, std::uint64_t offset,
          std::string_view bytes) {
  say(fd, ap::encode_data(
              "data", std::nullopt,
              {{"stream", exec}, {"channel", "stdout"}, {"offset", offset}},
              bytes, true));
}

json metrics(double cpu, double memory) {
  return {{"cpu_percent", cpu},
          {"cpu_seconds", 1},
          {"memory_used_bytes", memory},
          {"memory_total_bytes", 1},
          {"disk_used_bytes", 1},
          {"disk_total_bytes", 1},
          {"processes", 1}};
}

/// What the lie does once the host has said all it says to a new agent.
void after_greeting(int fd, std::string_view lie) {
  if (lie == "flood") {
    for (int i = 0; i < 100000; ++i)
      say(fd, ap::encode_line("heartbeat", std::nullopt, {{"sequence", i}}));
  } else if (lie == "silent-flood") {
    // One line that never ends.
    for (int i = 0; i < 64; ++i)
      say(fd, std::string(64 * 1024, 'x'));
  } else if (lie == "negative") {
    say(fd, ap::encode_line("metrics", std::nullopt, metrics(-5, 1)));
    say(fd, ap::encode_line("metrics", std::nullopt, metrics(1, 1e18)));
    say(fd, "{\"type\":\"metrics\",\"payload\":{\"cpu_percent\":NaN}}\n");
  } else if (lie == "garbage") {
    say(fd, "this is no message\n{\"type\":7}\n[]\n");
  }
}

/// What the lie does to an exec it was asked for.
void on_exec(int fd, std::string_view lie, const std::string& exec,
             std::uint64_t id) {
  say(fd, ap::encode_line("result", id,
                          {{"exec", exec}, {"pid", 7}, {"created", true}}));
  if (lie == "offsets")
    data(fd, exec, 4096, "out of nowhere");
  else if (lie == "credit")
    for (std::uint64_t at = 0; at < (8U << 20U); at += 65536)
      data(fd, exec, at, std::string(65536, 'x'));
  else if (lie == "ack")
    say(fd, ap::encode_line(
                "ack", std::nullopt,
                {{"stream", exec}, {"channel", "stdin"}, {"offset", 1 << 30}}));
  else if (lie == "exit")
    say(fd, ap::encode_line("exit", std::nullopt,
                            {{"exec", exec}, {"code", 70000}}));
  else
    say(fd,
        ap::encode_line("exit", std::nullopt, {{"exec", exec}, {"code", 0}}));
}

void serve(int fd, std::string_view lie) {
  ap::line_reader reader;
  reader.allow_raw(true);
  char buffer[16 * 1024];
  for (;;) {
    auto got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0)
      return;
    reader.feed({buffer, static_cast<std::size_t>(got)});
    while (auto message = reader.next()) {
      if (!*message)
        continue;
      auto& line = **message;
      auto id = line.id.value_or(0);
      if (line.type == "hello") {
        if (lie == "mute")
          continue;
        auto version = lie == "control" ? "1\x1b[31m\x07" : "666";
        say(fd,
            ap::encode_line("hello", id,
                            {{"protocol", 1},
                             {"agent", version},
                             {"boot", "b007b007-0000-4000-8000-000000000000"},
                             {"init", true},
                             {"raw", true},
                             {"execs", json::array()}}));
      } else if (line.type == "resumed") {
        say(fd, ap::encode_line("result", id, json::object()));
        after_greeting(fd, lie);
      } else if (line.type == "exec" && lie == "control") {
        say(fd, ap::encode_line(
                    "error", id,
                    {{"code", "io"}, {"message", "\x1b]0;owned\x07\x1b[2J"}}));
      } else if (line.type == "exec") {
        on_exec(fd, lie, line.payload.value("exec", ""), id);
      } else {
        say(fd, ap::encode_line("result", id, json::object()));
      }
      if (lie == "flood" || lie == "silent-flood")
        continue;
      say(fd, ap::encode_line("heartbeat", std::nullopt, {{"sequence", 1}}));
    }
  }
}

int listen_here() {
  ::mkdir("/run/caged", 0700);
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::strncpy(at.sun_path, socket_path, sizeof at.sun_path - 1);
  ::unlink(socket_path);
  if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0
      || ::listen(fd, 16) != 0)
    std::_Exit(9);
  return fd;
}

} // namespace

int main(int, char** argv) {
  const char* where = std::getenv("CAGED_WORKSPACE");
  std::string_view place = where == nullptr ? "" : where;
  if (place.rfind(mark, 0) != 0) {
    ::execv("/usr/lib/caged/caged-agent.real", argv);
    std::perror("caged-agent.real");
    return 9;
  }
  auto lie = place.substr(mark.size());
  // "impostor": the socket is another process's of the sandbox, not PID 1's.
  if (lie == "impostor") {
    if (::fork() != 0)
      for (;;)
        ::pause();
  }
  int listener = listen_here();
  for (;;) {
    int fd = ::accept(listener, nullptr, nullptr);
    if (fd < 0)
      continue;
    serve(fd, lie);
    ::close(fd);
  }
}
