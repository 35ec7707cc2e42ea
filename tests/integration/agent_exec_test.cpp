// Execs of caged-agent, seen from outside (agent_protocol.md, sections 4, 5).

#include <csignal>

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "tests/support/agent_client.hpp"

using namespace caged;
using namespace caged::test;
using nlohmann::json;

namespace {

std::string code_of(const agent_client::line& answer) {
  return answer.type == "error" ? answer.payload.value("code", "") : "";
}

json plenty() {
  return {{"stdout", 4 << 20}, {"stderr", 4 << 20}};
}

/// Reads an exec's output until `text` is in it: a terminal may hand a line
/// over in pieces. Returns the offset behind what was read; 0: it never came.
std::uint64_t read_until(agent_client& client, const std::string& exec,
                         const std::string& text) {
  std::string seen;
  while (seen.find(text) == std::string::npos) {
    auto data = client.wait([&](const auto& line) {
      return line.type == "data" && line.payload.at("stream") == exec;
    });
    if (!data)
      return 0;
    seen += agent_protocol::take_bytes(*data).value();
  }
  return seen.size();
}

/// Whether some process has this word as an argument.
bool runs(const std::string& word) {
  return run({"pgrep", "-f", word}).exit == 0;
}

} // namespace

TEST_CASE("an exec has its output, its exit code or its signal", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  bool raw = GENERATE(false, true);
  REQUIRE(client.hello(raw).type == "hello");
  auto both = run_exec(client, {{"shell", "echo out; echo err >&2; exit 3"}});
  CHECK(both.out == "out\n");
  CHECK(both.err == "err\n");
  CHECK(both.code == 3);
  CHECK(both.reason == "exited");
  CHECK(both.ended);
  auto killed = run_exec(client, {{"shell", "kill -9 $$"}});
  CHECK(killed.signal == SIGKILL);
  CHECK(killed.reason == "signaled");
  CHECK(run_exec(client, {{"argv", {"printf", "%s|", "a b", "", "c"}}}).out
        == "a b||c|");
  auto none = run_exec(client, {{"argv", {"no-such-command"}}});
  CHECK(none.code == 127);
  CHECK(none.err.find("no-such-command") != std::string::npos);
  auto directory = run_exec(client, {{"argv", {"/etc"}}});
  CHECK(directory.code == 126);
  CHECK(directory.err.find("/etc") != std::string::npos);
}

TEST_CASE("an exec gets its directory, environment and user", "[agent]") {
  agent_process agent{{}, {{"SECRET_OF_THE_AGENT", "1"}}};
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  CHECK(run_exec(client, {{"argv", {"pwd"}}}).out == agent.workspace() + "\n");
  CHECK(run_exec(client, {{"argv", {"pwd"}}, {"cwd", "/usr"}}).out == "/usr\n");
  CHECK(run_exec(client, {{"argv", {"true"}}, {"cwd", "none"}})
            .reason.find("none")
        != std::string::npos);
  auto env = run_exec(client, {{"argv", {"env"}},
                               {"env", {{"A", "x=y"}, {"PATH", "/bin"}}}})
                 .out;
  CHECK(env.find("A=x=y\n") != std::string::npos);
  CHECK(env.find("PATH=/bin\n") != std::string::npos);
  CHECK(env.find("HOME=") != std::string::npos);
  CHECK(env.find("SECRET_OF_THE_AGENT") == std::string::npos);
  CHECK(client.call("resumed", {{"env", {{"LATER", "1"}}}}).type == "result");
  CHECK(run_exec(client, {{"argv", {"printenv", "LATER"}}}).out == "1\n");
  if (::geteuid() == 0) {
    CHECK(run_exec(client, {{"shell", "id -u; id -g"}, {"user", "65534"}}).out
          == "65534\n65534\n");
    CHECK(run_exec(client, {{"shell", "id -u; id -g"}, {"user", "12:34"}}).out
          == "12\n34\n");
    CHECK(run_exec(client, {{"shell", "id -un"}, {"user", "nobody"}}).out
          == "nobody\n");
  }
  CHECK(run_exec(client, {{"argv", {"true"}}, {"user", "nosuchuser"}})
            .reason.find("nosuchuser")
        != std::string::npos);
  // Its own session, no descriptor of the agent but 0, 1, 2.
  CHECK(run_exec(client, {{"shell", "ls /proc/self/fd | wc -l"}}).out == "4\n");
}

TEST_CASE("a command may have a thousand arguments", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  std::vector<std::string> argv = {"sh", "-c", "echo $#", "sh"};
  while (argv.size() < 1004)
    argv.push_back("x");
  CHECK(run_exec(client, {{"argv", argv}}).out == "1000\n");
}

TEST_CASE("stdin arrives whole, is acknowledged and ends", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  bool raw = GENERATE(false, true);
  REQUIRE(client.hello(raw).type == "hello");
  REQUIRE(client
              .call("exec", {{"exec", "sum"},
                             {"argv", {"sha256sum"}},
                             {"stdin", true},
                             {"credit", plenty()}})
              .type
          == "result");
  std::string all;
  for (int i = 0; i < 3'000'000; ++i)
    all += static_cast<char>(i * 31 >> 3);
  std::uint64_t sent = 0, limit = 0, acked = 0;
  while (acked < all.size()) {
    if (sent < limit && sent < all.size()) {
      auto n =
          std::min<std::uint64_t>({limit - sent, 65536, all.size() - sent});
      REQUIRE(client.send(agent_protocol::encode_data(
          "data", {},
          {{"stream", "sum"}, {"channel", "stdin"}, {"offset", sent}},
          std::string_view{all}.substr(sent, n), raw)));
      sent += n;
      continue;
    }
    auto got = client.wait([](const auto& line) {
      return line.type == "ack" || line.type == "credit"
             || line.type == "error";
    });
    REQUIRE(got);
    REQUIRE(got->type != "error");
    if (got->type == "ack")
      acked = got->payload.at("offset");
    else
      limit = got->payload.at("limit");
    REQUIRE(acked <= sent);
  }
  client.tell(
      "eof", {{"stream", "sum"}, {"channel", "stdin"}, {"offset", all.size()}});
  auto got = follow(client, "sum");
  process_options options;
  options.in = all;
  CHECK(got.out == run({"sha256sum"}, options).out);
  CHECK(got.code == 0);
}

TEST_CASE("a reader of stdin that goes away counts as having read", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  client.call("exec", {{"exec", "deaf"},
                       {"shell", "exec <&-; echo closed; sleep 30"},
                       {"stdin", true},
                       {"credit", plenty()}});
  REQUIRE(client.wait_type("data"));
  client.tell("data", {{"stream", "deaf"},
                       {"channel", "stdin"},
                       {"offset", 0},
                       {"data", base64_encode("lost")}});
  CHECK(client.wait([](const auto& line) {
    return line.type == "ack" && line.payload.at("offset") == 4;
  }));
  CHECK(client.call("signal", {{"exec", "deaf"}, {"signal", "KILL"}}).type
        == "result");
  CHECK(follow(client, "deaf", 7).signal == SIGKILL);
}

TEST_CASE("a terminal has a size, a foreground group and an end of input",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  auto start = [&](const char* name, const char* line) {
    return client
        .call("exec", {{"exec", name},
                       {"shell", line},
                       {"tty", true},
                       {"rows", 31},
                       {"cols", 97},
                       {"stdin", true},
                       {"credit", plenty()}})
        .type;
  };
  REQUIRE(start("size", "stty size; test -t 0 && test -t 2 && echo tty")
          == "result");
  CHECK(follow(client, "size").out == "31 97\r\ntty\r\n");

  REQUIRE(start("resize", "trap 'stty size; exit 5' WINCH; echo ready; "
                          "while :; do sleep 0.02; done")
          == "result");
  auto ready = read_until(client, "resize", "ready\r\n");
  REQUIRE(ready > 0);
  CHECK(client.call("resize", {{"exec", "resize"}, {"rows", 50}, {"cols", 132}})
            .type
        == "result");
  auto resized = follow(client, "resize", ready);
  CHECK(resized.out.find("50 132") != std::string::npos);
  CHECK(resized.code == 5);

  REQUIRE(start("cat", "stty -echo; echo ready; cat; echo end") == "result");
  ready = read_until(client, "cat", "ready\r\n");
  REQUIRE(ready > 0);
  client.tell("data", {{"stream", "cat"},
                       {"channel", "stdin"},
                       {"offset", 0},
                       {"data", base64_encode("no newline")}});
  client.tell("eof", {{"stream", "cat"}, {"channel", "stdin"}, {"offset", 10}});
  CHECK(follow(client, "cat", ready).out == "no newlineend\r\n");

  // Ctrl-C reaches the foreground group. cat and no shell: dash loses a SIGINT
  // that comes while it starts a command.
  REQUIRE(client
              .call("exec", {{"exec", "ctrl-c"},
                             {"argv", {"cat"}},
                             {"tty", true},
                             {"stdin", true},
                             {"credit", plenty()}})
              .type
          == "result");
  auto type = [&](std::uint64_t offset, const char* text) {
    client.tell("data", {{"stream", "ctrl-c"},
                         {"channel", "stdin"},
                         {"offset", offset},
                         {"data", base64_encode(text)}});
  };
  type(0, "go\n");
  // The terminal's echo, then what cat has written.
  ready = read_until(client, "ctrl-c", "go\r\ngo\r\n");
  REQUIRE(ready > 0);
  type(3, "\x03");
  auto interrupted = follow(client, "ctrl-c", ready);
  CHECK(interrupted.ended);
  CHECK(interrupted.signal == SIGINT);
}

TEST_CASE("a timeout ends the whole tree", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  auto mark = "caged-tree-" + random_name(12);
  // A child that ignores SIGTERM, one in a session of its own.
  auto got =
      run_exec(client, {{"shell", "sh -c 'trap \"\" TERM; while :; do sleep 1; "
                                  "done' "
                                      + mark + " & setsid sh -c 'sleep 100; : "
                                      + mark + "' & sleep 100"},
                        {"timeout_ms", 300}});
  CHECK(got.reason == "timeout");
  CHECK(eventually(10s, [&] { return !runs(mark); }));
}

TEST_CASE("output held open by somebody else ends a second after the exit",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  auto got = run_exec(client, {{"shell", "echo done; sleep 20 & exit 4"}}, 10s);
  CHECK(got.out == "done\n");
  CHECK(got.code == 4);
  CHECK(got.ended);
}

TEST_CASE("without credit nothing is sent, and the writer stops", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  REQUIRE(client.hello(true).type == "hello");
  auto progress = agent.path("progress");
  // Writes 64 MiB and notes how far it has come.
  auto line = "i=0; while [ $i -lt 1024 ]; do head -c 65536 /dev/zero; "
              "i=$((i+1)); echo $i > "
              + progress + "; done";
  REQUIRE(client.call("exec", {{"exec", "flood"}, {"shell", line}}).type
          == "result");
  // It comes to rest far from its end: three looks alike.
  std::string last;
  int alike = 0;
  REQUIRE(eventually(20s, [&] {
    auto now = read_file(progress);
    alike = !now.empty() && now == last ? alike + 1 : 0;
    last = now;
    return alike > 100;
  }));
  CHECK(std::stoi(last) < 40);
  CHECK_FALSE(client.wait_type("data", 10ms));
  client.tell("credit",
              {{"stream", "flood"}, {"channel", "stdout"}, {"limit", 1000}});
  auto first = client.wait_type("data");
  REQUIRE(first);
  CHECK(first->raw.size() == 1000);
  CHECK_FALSE(client.wait_type("data", 100ms));
  client.tell("credit",
              {{"stream", "flood"}, {"channel", "stdout"}, {"limit", 262144}});
  auto got = follow(client, "flood", 1000, 0, 60s);
  CHECK(got.ended);
  CHECK(got.out.size() == 64 * 1024 * 1024 - 1000);
  CHECK(agent.peak_kb() <= 3 * 1024);
}

TEST_CASE("an exec outlives its connection and loses no byte", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  bool raw = GENERATE(false, true);
  std::string all;
  std::uint64_t next = 0;
  {
    agent_client client{agent.socket()};
    REQUIRE(client.hello(raw).type == "hello");
    client.call("exec", {{"exec", "count"},
                         {"shell", "seq 200000"},
                         {"credit", {{"stdout", 300000}, {"stderr", 1000}}}});
    while (next < 100000) {
      auto data = client.wait_type("data");
      REQUIRE(data);
      all += agent_protocol::take_bytes(*data).value();
      next = all.size();
    }
    // Half of it is acknowledged, the rest must come again.
    client.tell(
        "ack",
        {{"stream", "count"}, {"channel", "stdout"}, {"offset", next / 2}});
    REQUIRE(client.call("ping", json::object()).type == "pong");
  }
  agent_client client{agent.socket()};
  auto hello = client.hello(raw);
  REQUIRE(hello.payload.at("execs").size() == 1);
  auto row = hello.payload.at("execs")[0];
  CHECK(row.at("exec") == "count");
  CHECK(row.at("stdout") == next / 2);
  CHECK(code_of(client.call("attach",
                            {{"exec", "count"}, {"stdout", next / 2 - 1}}))
        == "not_found");
  CHECK(code_of(
            client.call("attach", {{"exec", "count"}, {"stdout", 100'000'000}}))
        == "bad_request");
  CHECK(code_of(client.call("attach", {{"exec", "other"}})) == "not_found");
  auto from = next / 2 + 10;
  auto attached = client.call("attach", {{"exec", "count"},
                                         {"stdout", from},
                                         {"stderr", 0},
                                         {"credit", plenty()}});
  REQUIRE(attached.type == "result");
  auto got = follow(client, "count", from);
  CHECK(got.ended);
  CHECK(got.code == 0);
  CHECK(all.substr(0, from) + got.out == run({"seq", "200000"}).out);
  CHECK(eventually(
      10s, [&] { return client.hello(raw).payload.at("execs").empty(); }));
}

TEST_CASE("the last attachment wins, also in the middle of a frame",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  auto expected = run({"seq", "300000"}).out;
  agent_client first{agent.socket()};
  REQUIRE(first.hello(true).type == "hello");
  // It takes nothing, so that its socket is full and a frame half sent.
  REQUIRE(first.tell(
      "exec", {{"exec", "s"}, {"shell", "seq 300000"}, {"credit", plenty()}},
      1));
  agent_client second{agent.socket()};
  REQUIRE(second.hello(true).type == "hello");
  REQUIRE(eventually(10s, [&] {
    auto list = second.hello(true).payload.at("execs");
    return list.size() == 1;
  }));
  REQUIRE(second.call("ping", json::object()).type == "pong");
  auto again = second.call(
      "exec",
      {{"exec", "s"}, {"shell", "never started"}, {"credit", plenty()}});
  REQUIRE(again.type == "result");
  CHECK(again.payload.at("created") == false);
  auto got = follow(second, "s");
  CHECK(got.ended);
  CHECK(got.out == expected);
  // The earlier one reads whole frames, then the reason.
  std::string part;
  auto told =
      first.wait([&](const auto& line) { return line.type == "error"; });
  REQUIRE(told);
  CHECK(told->payload.at("code") == "superseded");
  while (auto data = first.wait_type("data", 100ms))
    part += data->raw;
  CHECK(expected.rfind(part, 0) == 0);
  CHECK(code_of(first.call(
            "ack", {{"stream", "s"}, {"channel", "stdout"}, {"offset", 1}}))
        != "");
}

TEST_CASE("false offsets are refused and cost nothing", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  REQUIRE(client
              .call("exec", {{"exec", "c"},
                             {"argv", {"cat"}},
                             {"stdin", true},
                             {"credit", plenty()}})
              .type
          == "result");
  auto refused = [&](const char* type, json payload) {
    payload["stream"] = payload.value("stream", "c");
    CAPTURE(type, payload.dump());
    auto answer = client.call(type, payload);
    CHECK(answer.type == "error");
    return answer.payload.value("stream", "");
  };
  CHECK(refused("ack", {{"channel", "stdout"}, {"offset", 1}}) == "c");
  refused("ack", {{"channel", "stdout"}, {"offset", (1ULL << 53) - 1}});
  refused("ack", {{"channel", "stdin"}, {"offset", 0}});
  refused("ack", {{"channel", "exit"}, {"offset", 0}});
  refused("ack", {{"channel", "stdout"}, {"offset", -1}});
  refused("credit", {{"channel", "stdin"}, {"limit", 5}});
  refused("eof", {{"channel", "stdin"}, {"offset", 5}});
  refused("eof", {{"channel", "stdout"}, {"offset", 0}});
  refused("data", {{"channel", "stdin"}, {"offset", 1}, {"data", "AAAA"}});
  refused("data", {{"channel", "stdin"}, {"offset", 0}, {"data", "A"}});
  refused("data", {{"channel", "stdin"},
                   {"offset", 0},
                   {"data", base64_encode(std::string(65536, 'x'))}});
  refused("data", {{"stream", "none"},
                   {"channel", "stdin"},
                   {"offset", 0},
                   {"data", "AAAA"}});
  // What lies below the receiver's offset is dropped silently.
  for (const auto* text : {"one\n", "one\ntwo\n", "one\n"})
    client.tell("data", {{"stream", "c"},
                         {"channel", "stdin"},
                         {"offset", 0},
                         {"data", base64_encode(text)}});
  client.tell("eof", {{"stream", "c"}, {"channel", "stdin"}, {"offset", 8}});
  auto got = follow(client, "c");
  CHECK(got.out == "one\ntwo\n");
  CHECK(got.code == 0);
}

TEST_CASE("signals reach the group, by name and number", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  client.call(
      "exec",
      {{"exec", "s"}, {"argv", {"sleep", "100"}}, {"credit", plenty()}});
  CHECK(code_of(client.call("signal", {{"exec", "s"}, {"signal", "NONE"}}))
        == "bad_request");
  CHECK(code_of(client.call("signal", {{"exec", "s"}, {"signal", 900}}))
        == "bad_request");
  CHECK(client.call("signal", {{"exec", "s"}, {"signal", 15}}).type
        == "result");
  REQUIRE(client.wait_type("exit"));
  CHECK(code_of(client.call("signal", {{"exec", "s"}, {"signal", "TERM"}}))
        == "not_found");
}

TEST_CASE("64 execs at once are listed, a 65th is refused", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  for (int i = 0; i < 64; ++i)
    REQUIRE(client
                .call("exec", {{"exec", "e" + std::to_string(i)},
                               {"argv", {"sleep", "100"}}})
                .type
            == "result");
  CHECK(code_of(client.call("exec", {{"exec", "more"}, {"argv", {"true"}}}))
        == "too_large");
  // A daemon that comes back has to see them all.
  CHECK(client.hello().payload.at("execs").size() == 64);
  CHECK(client.call("shutdown", {{"deadline_ms", 1000}}).type == "result");
  CHECK(agent.process().wait(10s));
}

TEST_CASE("a dial reaches a port inside and ends with its connection",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&at), size) == 0);
  REQUIRE(::listen(listener, 4) == 0);
  REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size)
          == 0);
  auto port = ntohs(at.sin_port);
  agent_client client{agent.socket()};
  auto dial = [&](const char* name) {
    return client.call(
        "dial",
        {{"stream", name}, {"port", port}, {"credit", {{"out", 1000}}}});
  };
  REQUIRE(dial("d").type == "result");
  int peer = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  REQUIRE(peer >= 0);
  client.tell("data", {{"stream", "d"},
                       {"channel", "in"},
                       {"offset", 0},
                       {"data", base64_encode("ping")}});
  char buffer[16] = {};
  REQUIRE(::recv(peer, buffer, sizeof buffer, 0) == 4);
  REQUIRE(::send(peer, "pong!", 5, MSG_NOSIGNAL) == 5);
  auto data = client.wait_type("data");
  REQUIRE(data);
  CHECK(data->payload.at("channel") == "out");
  CHECK(agent_protocol::take_bytes(*data).value() == "pong!");
  client.tell("eof", {{"stream", "d"}, {"channel", "in"}, {"offset", 4}});
  CHECK(::recv(peer, buffer, sizeof buffer, 0) == 0);
  ::close(peer);
  CHECK(client.wait_type("eof"));
  CHECK(client.wait_type("close"));
  CHECK(code_of(client.call(
            "dial", {{"stream", "x"}, {"port", port}, {"host", "10.0.0.1"}}))
        == "bad_request");
  {
    agent_client other{agent.socket()};
    REQUIRE(other.call("dial", {{"stream", "gone"}, {"port", port}}).type
            == "result");
    peer = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  }
  CHECK(::recv(peer, buffer, sizeof buffer, 0) == 0);
  ::close(peer);
  ::close(listener);
  CHECK(code_of(dial("refused")) == "io");
}
