#include <catch2/catch.hpp>

#include <chrono>
#include <mutex>
#include <optional>

#include "messages/curve_pair.hpp"
#include "messages/text.hpp"
#include "nodes/setup.hpp"
#include "nodes/tcp_port.hpp"

using namespace caged;
using namespace std::chrono_literals;

// A host that asks to join, and the port of the node that it asks.
namespace {

struct fixture {
  fixture() {
    token.cluster = make_uuid();
    token.server_key = node.public_key;
    joins->loaded();
    keys->loaded();
    know(token.key);
    auto made =
        tcp_port::open({"tcp://127.0.0.1:0", node, {}, joins}, keys, nullptr);
    INFO((made ? "" : made.error().message));
    REQUIRE(made);
    port = std::move(*made);
    port->start(
        [this](api::request what) {
          const std::lock_guard guard{mutex};
          port->send({what.route, what.id, answer});
          asked = std::move(what);
        },
        [](const std::string&) {});
  }
  ~fixture() { port->stop(); }

  void know(const key_pair& key) const {
    const join_record known{key.public_key, "uid:0", 1, 2, {}};
    REQUIRE(joins->apply(
        {join_record_of(key.public_key), encode_join(known), 1}, false));
  }
  result<api::join_reply> ask(const join_token& with) const {
    return ask_to_join(
        port->address(), with,
        {"abcd1234", "two", std::string(40, '1'), "test", with.cluster});
  }

  const key_pair node = *make_key_pair({});
  join_token token{{}, {}, *make_key_pair({}), 1};
  std::shared_ptr<join_table> joins = std::make_shared<join_table>();
  std::shared_ptr<key_table> keys = std::make_shared<key_table>();
  std::unique_ptr<tcp_port> port;
  std::mutex mutex;
  api::reply_body answer =
      api::join_reply{"c", "one", {"etcd://a/x", {}, {}, {}, {}, {}}};
  std::optional<api::request> asked;
};

} // namespace

TEST_CASE("the bearer of a join token is let in as one, and gets its answer") {
  fixture f;
  const auto got = f.ask(f.token);
  INFO((got ? "" : got.error().message));
  REQUIRE(got);
  CHECK(got->cluster == "c");
  CHECK(got->store.url == "etcd://a/x");
  const std::lock_guard guard{f.mutex};
  REQUIRE(f.asked);
  CHECK(f.asked->joiner);
  CHECK_FALSE(f.asked->admin);
  CHECK_FALSE(f.asked->viewer);
  CHECK(f.asked->caller == "join:" + url_form(f.token.key.public_key));
  CHECK(f.asked->from == "127.0.0.1");
  CHECK(std::get<api::join>(f.asked->body).cluster == f.token.cluster);
}

TEST_CASE("what the node says against a join is handed on") {
  fixture f;
  {
    const std::lock_guard guard{f.mutex};
    f.answer =
        api::error_reply{{ec::denied, "this token was used", "x"}, {}, {}};
  }
  const auto got = f.ask(f.token);
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::denied);
  CHECK(got.error().message == "this token was used");
}

TEST_CASE("a join token that is unknown, of another node, or for nobody") {
  fixture f;
  auto wrong = f.token;
  wrong.key = *make_key_pair({});
  auto got = f.ask(wrong);
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::denied);
  CHECK(got.error().message.find("does not know this token")
        != std::string::npos);
  wrong = f.token;
  wrong.server_key = make_key_pair({})->public_key;
  got = f.ask(wrong);
  REQUIRE_FALSE(got);
  CHECK(got.error().message.find("hung up") != std::string::npos);
  got = ask_to_join("tcp://127.0.0.1:1", f.token, {});
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::unavailable);
  got = ask_to_join("tcp://", f.token, {});
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::bad_request);
  CHECK_FALSE(f.asked);
}
