// caged-agent by hand, seen from outside: connections, files, metrics, the end.
// Execs are in agent_exec_test.cpp, hostile input in agent_hostile_test.cpp.

#include <algorithm>
#include <csignal>
#include <cstring>

#include <catch2/catch.hpp>
#include <elf.h>
#include <sys/stat.h>
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

std::string agent() {
  return bin_dir() + "/caged-agent";
}

} // namespace

TEST_CASE("the agent's binary is static and at most 1.5 MB", "[agent]") {
  struct stat about {};
  REQUIRE(::stat(agent().c_str(), &about) == 0);
  CHECK(about.st_size <= 1'500'000);
  // No interpreter among its program headers (elf(5), PT_INTERP).
  auto file = read_file(agent());
  Elf64_Ehdr head{};
  REQUIRE(file.size() > sizeof head);
  std::memcpy(&head, file.data(), sizeof head);
  for (unsigned i = 0; i < head.e_phnum; ++i) {
    Elf64_Phdr part{};
    std::memcpy(&part, file.data() + head.e_phoff + i * sizeof part,
                sizeof part);
    CHECK(part.p_type != PT_INTERP);
  }
}

TEST_CASE("a bad flag or variable is refused with its name and form",
          "[agent]") {
  struct row {
    std::vector<std::string> flags;
    std::map<std::string, std::string> env;
    std::string name, form;
  };
  const std::vector<row> rows = {
      {{"--heartbeat-interval", "5"}, {}, "--heartbeat-interval", "500ms"},
      {{"--heartbeat-interval=0s"}, {}, "--heartbeat-interval", "100ms to 1h"},
      {{"--metrics-interval", "-1s"}, {}, "--metrics-interval", "500ms"},
      {{},
       {{"CAGED_METRICS_INTERVAL", "soon"}},
       "CAGED_METRICS_INTERVAL",
       "1m"},
      {{"--log-level", "loud"},
       {},
       "--log-level",
       "debug, info, warn or error"},
      {{"--workspace", "here"}, {}, "--workspace", "absolute"},
      {{"--socket", "/" + std::string(200, 's')}, {}, "--socket", "107"},
      {{"--socket"}, {}, "--socket", "missing"},
      {{"--frobnicate"}, {}, "--frobnicate", "--help"},
      {{"extra"}, {}, "extra", "--help"},
  };
  for (const auto& row : rows) {
    std::vector<std::string> argv = {agent()};
    argv.insert(argv.end(), row.flags.begin(), row.flags.end());
    process_options options;
    options.env = row.env;
    auto got = run(argv, options);
    CAPTURE(row.name, got.err);
    CHECK(got.exit == 2);
    CHECK(got.err.find(row.name) != std::string::npos);
    CHECK(got.err.find(row.form) != std::string::npos);
  }
  CHECK(run({agent(), "--version"}).out.rfind("caged-agent ", 0) == 0);
  CHECK(run({agent(), "--help"}).out.find("CAGED_HEARTBEAT_INTERVAL")
        != std::string::npos);
}

TEST_CASE("hello is followed by heartbeats and metrics at their intervals",
          "[agent]") {
  agent_process agent{{"--heartbeat-interval", "100ms"},
                      {{"CAGED_METRICS_INTERVAL", "100ms"}}};
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  auto hello = client.hello(false, true, true);
  REQUIRE(hello.type == "hello");
  CHECK(hello.payload.at("protocol") == 1);
  CHECK(is_uuid(hello.payload.at("boot").get<std::string>()));
  CHECK(hello.payload.at("init") == false);
  CHECK(hello.payload.at("execs").empty());
  auto first = client.wait_type("heartbeat");
  auto second = client.wait_type("heartbeat");
  REQUIRE(first);
  REQUIRE(second);
  CHECK(second->payload.at("sequence") > first->payload.at("sequence"));
  CHECK(second->payload.at("uptime_ms") >= first->payload.at("uptime_ms"));
  CHECK(second->payload.at("boot") == hello.payload.at("boot"));
  CHECK(client.wait_type("metrics"));
  CHECK(client.wait_type("metrics"));
  agent_client other{agent.socket()};
  CHECK(code_of(other.call("hello", {{"protocol", 2}})) == "unsupported");
  CHECK(other.call("hello", json::object()).type == "hello");
}

TEST_CASE("metrics are measured: they follow a load", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  auto before = agent_protocol::metrics_from_json(
      client.call("metrics", json::object()).payload);
  REQUIRE(before);
  CHECK(before->memory_total_bytes > 0);
  CHECK(before->memory_used_bytes > 0);
  CHECK(before->disk_total_bytes >= before->disk_used_bytes);
  CHECK(before->processes >= 1);
  auto burn = run_exec(client, {{"shell", "i=0; while [ $i -lt 300000 ]; do "
                                          "i=$((i+1)); done"}});
  CHECK(burn.code == 0);
  auto after = agent_protocol::metrics_from_json(
      client.call("metrics", json::object()).payload);
  REQUIRE(after);
  CHECK(after->cpu_seconds > before->cpu_seconds);
}

TEST_CASE("socat can ping, exec, read metrics and shut the agent down",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  temp_dir dir;
  // Nothing but the written specification, as a person would type it: the
  // shutdown comes once the exit was seen.
  process_options options;
  options.env = {{"SCRIPT",
                  "{\"type\":\"ping\",\"id\":7,\"payload\":{\"a\":1}}\n"
                  "{\"type\":\"metrics\",\"id\":8}\r\n\n"
                  R"({"type":"exec","id":9,"payload":{"exec":"by-hand",)"
                  R"("argv":["echo","hello"],)"
                  R"("credit":{"stdout":262144,"stderr":262144}}})"
                  "\n"},
                 {"BYE", R"({"type":"shutdown","id":10,"payload":{}})"},
                 {"SOCKET", agent.socket()}};
  options.cwd = dir.path();
  run({"sh", "-c",
       "mkfifo in; socat -t10 - UNIX-CONNECT:\"$SOCKET\" < in > out & "
       "exec 3> in; printf '%s' \"$SCRIPT\" >&3; "
       "until grep -q '\"exit\"' out; do sleep 0.02; done; "
       "printf '%s\\n' \"$BYE\" >&3; "
       "until grep -q '\"bye\"' out; do sleep 0.02; done; exec 3>&-; wait"},
      options);
  auto got = read_file(dir / "out");
  CAPTURE(got);
  CHECK(got.find(R"("id":7,"payload":{"a":1})") != std::string::npos);
  CHECK(got.find("\"cpu_seconds\"") != std::string::npos);
  CHECK(got.find("\"data\":\"aGVsbG8K\"") != std::string::npos);
  CHECK(got.find("\"type\":\"exit\"") != std::string::npos);
  CHECK(got.find("\"type\":\"bye\"") != std::string::npos);
  REQUIRE(agent.process().wait(10s));
  CHECK(agent.process().exit() == 0);
}

TEST_CASE("a client that ends its input still gets its answers", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  client.tell("exec",
              {{"exec", "late"},
               {"shell", "sleep 0.2; echo late"},
               {"credit", {{"stdout", 1000}, {"stderr", 1000}}}},
              1);
  client.end_input();
  auto data = client.wait_type("data");
  REQUIRE(data);
  CHECK(agent_protocol::take_bytes(*data).value() == "late\n");
  CHECK(client.wait_type("exit"));
}

TEST_CASE("files are written, read, listed, looked at and removed", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  bool raw = GENERATE(false, true);
  agent_client client{agent.socket()};
  REQUIRE(client.hello(raw).type == "hello");
  std::string bytes;
  for (int i = 0; i < 65536; ++i)
    bytes += static_cast<char>(i * 7);
  // Two parts, so that the upload is seen on its way.
  auto write = [&](std::uint64_t id, json payload, std::string_view part) {
    client.send(agent_protocol::encode_data("write", id, std::move(payload),
                                            part, raw));
    auto got = client.wait([&](const auto& line) { return line.id == id; });
    REQUIRE(got);
    return *got;
  };
  auto part = write(
      1000,
      {{"path", "sub.bin"}, {"mode", 0600}, {"more", true}, {"upload", "u"}},
      bytes);
  REQUIRE(part.type == "result");
  CHECK(::access(agent.path("sub.bin").c_str(), F_OK) != 0);
  auto last =
      write(1001, {{"path", "sub.bin"}, {"offset", 65536}, {"upload", "u"}},
            "the end");
  REQUIRE(last.type == "result");
  CHECK(last.payload.at("size") == 65543);
  CHECK(read_file(agent.path("sub.bin")) == bytes + "the end");
  auto stat = client.call("stat", {{"path", "sub.bin"}}).payload;
  CHECK(stat.at("mode") == 0600);
  CHECK(stat.at("type") == "file");

  // An existing file keeps its mode, a link stays a link.
  REQUIRE(::symlink("sub.bin", agent.path("link").c_str()) == 0);
  CHECK(write(1002, {{"path", "link"}}, "short").type == "result");
  CHECK(read_file(agent.path("sub.bin")) == "short");
  CHECK(client.call("stat", {{"path", "link"}}).payload.at("target")
        == "sub.bin");
  CHECK(client.call("stat", {{"path", "link"}, {"follow", true}})
            .payload.at("mode")
        == 0600);

  auto read = client.call("read", {{"path", "sub.bin"}, {"offset", 2}});
  CHECK(agent_protocol::take_bytes(read).value() == "ort");
  CHECK(read.payload.at("eof") == true);
  CHECK(read.payload.at("size") == 5);
  // /proc shows sizes of 0.
  auto proc = client.call("read", {{"path", "/proc/self/status"}});
  CHECK(agent_protocol::take_bytes(proc).value().find("caged-agent")
        != std::string::npos);

  CHECK(client.call("mkdir", {{"path", "a/b/c"}, {"parents", true}}).type
        == "result");
  CHECK(code_of(client.call("mkdir", {{"path", "a"}})) == "conflict");
  auto list = client.call("list", {{"path", "."}}).payload;
  REQUIRE(list.at("entries").size() == 3);
  CHECK(list.at("entries")[0].at("name") == "a");
  CHECK(list.at("entries")[0].at("type") == "dir");
  CHECK(code_of(client.call("remove", {{"path", "a"}})) == "conflict");
  CHECK(client.call("remove", {{"path", "a"}, {"recursive", true}})
            .payload.at("removed")
        == 3);
  CHECK(code_of(client.call("read", {{"path", "a"}})) == "not_found");
  CHECK(code_of(client.call("read", {{"path", "."}})) == "bad_request");
  for (const auto* kept : {"/", ".", "/../", "x/.."})
    CHECK(client.call("remove", {{"path", kept}, {"recursive", true}}).type
          == "error");
  auto workspace = agent.workspace();
  CHECK(client.call("remove", {{"path", workspace}, {"recursive", true}}).type
        == "error");
  CHECK(read_file(agent.path("sub.bin")) == "short");
}

TEST_CASE("a long directory comes in pages, links too", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  for (int i = 0; i < 100; ++i)
    REQUIRE(::symlink("target", agent.path("n" + std::to_string(i)).c_str())
            == 0);
  std::vector<std::string> names;
  bool more = true;
  while (more) {
    auto page = client.call(
        "list", {{"path", "."}, {"after", names.empty() ? "" : names.back()}});
    REQUIRE(page.type == "result");
    REQUIRE_FALSE(page.payload.at("entries").empty());
    for (const auto& entry : page.payload.at("entries"))
      names.push_back(entry.at("name"));
    more = page.payload.at("more");
  }
  CHECK(names.size() == 100);
  CHECK(std::is_sorted(names.begin(), names.end()));
}

TEST_CASE("a big and deep tree is removed while the agent goes on answering",
          "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  // 300 levels, deeper than the agent holds descriptors, and 20000 files.
  auto made = run_exec(client,
                       {{"shell", "mkdir big && cd big && "
                                  "for i in $(seq 20000); do : > f$i; done && "
                                  "ln -s /etc away && "
                                  "for i in $(seq 300); do mkdir d && cd d; "
                                  "done"}},
                       60s);
  REQUIRE(made.code == 0);
  client.tell("remove", {{"path", "big"}, {"recursive", true}}, 500);
  CHECK(client.call("ping", json::object()).type == "pong");
  auto done = client.wait([](const auto& line) { return line.id == 500; }, 30s);
  REQUIRE(done);
  CHECK(done->type == "result");
  CHECK(done->payload.at("removed") == 20302);
  CHECK(::access(agent.path("big").c_str(), F_OK) != 0);
  CHECK(::access("/etc/passwd", F_OK) == 0);
}

TEST_CASE("an unfinished upload leaves with its connection", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  {
    agent_client client{agent.socket()};
    CHECK(client
              .call("write", {{"path", "f"},
                              {"data", "AAAA"},
                              {"more", true},
                              {"upload", "x"}})
              .type
          == "result");
    CHECK(client.call("list", {{"path", "."}}).payload.at("entries").size()
          == 1);
  }
  agent_client after{agent.socket()};
  CHECK(eventually(10s, [&] {
    return after.call("list", {{"path", "."}}).payload.at("entries").empty();
  }));
}

TEST_CASE("shutdown ends what runs, says bye, removes the socket", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  agent_client watcher{agent.socket()};
  REQUIRE(watcher.call("ping", json::object()).type == "pong");
  // Ignores SIGTERM: the deadline ends it.
  auto started = client.call(
      "exec", {{"exec", "stubborn"},
               {"shell", "trap '' TERM; echo on; while :; do sleep 1; done"},
               {"credit", {{"stdout", 1000}, {"stderr", 1000}}}});
  REQUIRE(started.type == "result");
  REQUIRE(client.wait_type("data"));
  CHECK(client.call("shutdown", {{"deadline_ms", 300}}).type == "result");
  CHECK(code_of(client.call("exec", {{"exec", "new"}, {"shell", "true"}}))
        == "shutting_down");
  auto exit = client.wait_type("exit");
  REQUIRE(exit);
  CHECK(exit->payload.at("reason") == "shutdown");
  CHECK(exit->payload.at("signal") == SIGKILL);
  CHECK(client.wait_type("bye"));
  CHECK(watcher.wait_type("bye"));
  REQUIRE(agent.process().wait(10s));
  CHECK(agent.process().exit() == 0);
  CHECK(::access(agent.socket().c_str(), F_OK) != 0);
  CHECK_FALSE(is_alive(started.payload.at("pid").get<pid_t>()));
}

TEST_CASE("SIGTERM is a shutdown for an agent that is not PID 1", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  REQUIRE(client.call("ping", json::object()).type == "pong");
  agent.process().signal(SIGTERM);
  CHECK(client.wait_type("bye"));
  REQUIRE(agent.process().wait(10s));
  CHECK(agent.process().exit() == 0);
}

TEST_CASE("a stale socket is replaced, a live one is an error", "[agent]") {
  temp_dir dir;
  auto socket = dir / "agent.sock";
  std::vector<std::string> argv = {agent(), "--socket", socket, "--workspace",
                                   dir.path()};
  auto listens = [&] { return agent_client{socket}.connected(); };
  {
    background killed{argv};
    REQUIRE(eventually(10s, listens));
    killed.signal(SIGKILL);
    REQUIRE(killed.wait(10s));
  }
  REQUIRE(::access(socket.c_str(), F_OK) == 0);
  background second{argv};
  REQUIRE(eventually(10s, listens));
  struct stat about {};
  REQUIRE(::stat(socket.c_str(), &about) == 0);
  CHECK((about.st_mode & 0777U) == 0600);
  auto third = run(argv);
  CHECK(third.exit == 1);
  CHECK(third.err.find("another agent listens") != std::string::npos);
  CHECK(listens());
}

TEST_CASE("an idle agent costs no measurable cpu", "[agent]") {
  agent_process agent;
  REQUIRE(agent.ready());
  agent_client client{agent.socket()};
  REQUIRE(client.hello(true, true, true).type == "hello");
  auto before = cpu_time(agent.process().pid());
  // Nothing is sent in this time, so nothing must be received.
  CHECK_FALSE(client.wait_type("pong", 2s));
  CHECK(cpu_time(agent.process().pid()) - before <= 10ms);
}

TEST_CASE("as PID 1 it reaps orphans, ignores a tenant's SIGTERM, dies last",
          "[agent]") {
  if (::geteuid() != 0) {
    WARN("SKIPPED: needs root for a PID namespace");
    return;
  }
  temp_dir dir;
  auto socket = dir / "agent.sock";
  process_options options;
  options.env = {{"container", "test"}};
  background init{{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                   agent(), "--socket", socket, "--workspace", dir.path()},
                  options};
  REQUIRE(eventually(10s, [&] { return agent_client{socket}.connected(); }));
  agent_client client{socket};
  REQUIRE(client.hello().payload.at("init") == true);
  CHECK(run_exec(client, {{"shell", "cat /proc/self/oom_score_adj"}}).out
        == "500\n");
  // The orphan's parent is gone at once; nobody else can reap it.
  CHECK(run_exec(client, {{"shell", "(sh -c 'exit 7' & ) ; kill -TERM 1; "
                                    "echo alive"}})
            .out
        == "alive\n");
  CHECK(eventually(10s, [&] {
    return run_exec(client, {{"shell", "cat /proc/[0-9]*/stat | "
                                       "grep -c ') Z ' || true"}})
               .out
           == "0\n";
  }));
  CHECK(client.call("ping", json::object()).type == "pong");
  // Not even root in there may look into it without the capability.
  CHECK(run_exec(client, {{"shell", "cat /proc/1/environ"}, {"user", "65534"}})
            .code
        != 0);
  CHECK(client.call("shutdown", json::object()).type == "result");
  CHECK(client.wait_type("bye"));
  REQUIRE(init.wait(10s));
  CHECK(init.exit() == 0);
}
