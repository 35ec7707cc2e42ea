#include <catch2/catch.hpp>

#include <sys/stat.h>

#include "fake_session.hpp"
#include "web_client.hpp"

using namespace caged;
using namespace caged::mcp;
using namespace caged::test;
using namespace std::chrono_literals;

namespace {

const auto soon = patient(20s);

server_config at(const std::string& path) {
  server_config out;
  out.socket = path;
  return out;
}

unsigned mode_of(const std::string& path) {
  struct stat about {};
  return ::lstat(path.c_str(), &about) == 0 ? about.st_mode : 0U;
}

/// Why a second server does not listen there.
failure refused(const std::string& path) {
  auto config = at(path);
  config.mode = transport::http;
  const auto made = web_server::listen(config, {});
  REQUIRE_FALSE(made);
  return made.error();
}

} // namespace

TEST_CASE("a Unix socket serves HTTP and WebSocket and goes with its server",
          "[mcp][web]") {
  temp_dir dir;
  const auto path = dir / "a/b/mcp.sock";
  {
    fake_server server{transport::http, at(path)};
    CHECK(server.server->host().empty());
    CHECK(server.port() == 0);
    CHECK(mode_of(path) == (S_IFSOCK | 0600));
    CHECK(mode_of(dir / "a") == (S_IFDIR | 0700));
    CHECK(mode_of(dir / "a/b") == (S_IFDIR | 0700));
    web_client plain{path};
    CHECK(plain.post(rpc(1, "initialize", {{"protocolVersion", "2025-11-25"}}))
              .status
          == 200);
    CHECK(plain.post(rpc(2, "ping"), {{"Host", "evil.example.com"}}).status
          == 403);
    web_client upgraded{path};
    REQUIRE(upgraded.handshake().status == 101);
    CHECK(json::parse(upgraded.exchange(rpc(3, "ping")))["id"] == 3);
  }
  CHECK(mode_of(path) == 0);
  fake_server again{transport::ws, at(path)};
  web_client client{path};
  CHECK(client.handshake().status == 101);
}

TEST_CASE("a server that stops leaves its path to the next one at once",
          "[mcp][web]") {
  temp_dir dir;
  const auto path = dir / "mcp.sock";
  fake_server first{transport::ws, at(path)};
  web_client busy{path};
  REQUIRE(busy.handshake().status == 101);
  busy.say(rpc(1, "hold"));
  REQUIRE(eventually(soon, [&] { return first.world.waiting() == 1; }));
  first.server->stop();
  REQUIRE(eventually(soon, [&] { return mode_of(path) == 0; }));
  fake_server second{transport::ws, at(path)};
  first.world.release();
  CHECK(eventually(soon, [&] { return first.done.load(); }));
  // It does not take the path of the other away.
  CHECK(mode_of(path) == (S_IFSOCK | 0600));
  web_client client{path};
  CHECK(client.handshake().status == 101);
}

TEST_CASE("a socket that a dead server left is replaced", "[mcp][web]") {
  temp_dir dir;
  const auto path = dir / "mcp.sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address)
          == 0);
  ::close(dead);
  REQUIRE(mode_of(path) != 0);
  fake_server server{transport::ws, at(path)};
  web_client client{path};
  CHECK(client.handshake().status == 101);
}

TEST_CASE("a socket that lives, and what is none, is not replaced",
          "[mcp][web]") {
  temp_dir dir;
  const auto path = dir / "mcp.sock";
  fake_server server{transport::ws, at(path)};
  const auto why = refused(path);
  CHECK(why.code == ec::conflict);
  CHECK(why.message.find(path) != std::string::npos);
  CHECK_FALSE(why.hint.empty());
  web_client client{path};
  CHECK(client.handshake().status == 101);
  write_file(dir / "file", "mine");
  CHECK(refused(dir / "file").code == ec::conflict);
  CHECK(read_file(dir / "file") == "mine");
  CHECK(refused(dir / "file/mcp.sock").code == ec::io);
}
