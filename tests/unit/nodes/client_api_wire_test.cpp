#include <catch2/catch.hpp>

#include <set>

#include "messages/client_api_wire.hpp"
#include "messages/text.hpp"

using namespace caged;

namespace {

const std::string id = "01234567-89ab-4def-8123-456789abcdef";

api::request round_trip(api::request_body body) {
  auto got = api::decode_request(api::encode(
      api::request{{}, id, {}, false, std::chrono::seconds(5), 0, body}));
  INFO((got ? "" : got.error().message));
  REQUIRE(got.has_value());
  CHECK(got->id == id);
  CHECK(got->remaining == std::chrono::seconds(5));
  CHECK(got->body.index() == body.index());
  // Encoding what was decoded gives the same bytes: no field is lost twice.
  CHECK(api::encode(*got)
        == api::encode(
            api::request{{}, id, {}, false, std::chrono::seconds(5), 0, body}));
  return *got;
}

void round_trip_reply(api::reply_body body) {
  auto bytes = api::encode(api::reply{{}, id, body});
  auto got = api::decode_reply(bytes);
  REQUIRE(got.has_value());
  REQUIRE(got->has_value());
  CHECK((*got)->body.index() == body.index());
  CHECK(api::encode(**got) == bytes);
}

std::string encoded(api::request_body body) {
  return api::encode(
      api::request{{}, id, {}, false, std::chrono::milliseconds(0), 0, body});
}

ec refusal(const std::string& bytes) {
  auto got = api::decode_request(bytes);
  REQUIRE_FALSE(got.has_value());
  CHECK_FALSE(got.error().message.empty());
  return got.error().code;
}

api::exec an_exec() {
  api::exec out;
  out.sandbox = "web";
  out.argv = {"ls", "-l"};
  out.env = {{"A", "b"}};
  out.cwd = "/tmp";
  out.user = "nobody";
  out.tty = true;
  out.rows = 30;
  out.cols = 100;
  out.wants_stdin = true;
  out.timeout = std::chrono::seconds(9);
  out.stdout_offset = 10;
  out.stderr_offset = 20;
  out.stdout_credit = 1000;
  out.stderr_credit = 2000;
  return out;
}

} // namespace

TEST_CASE("every request survives its way over the wire") {
  sandbox_spec spec;
  spec.name = "web";
  spec.env = {{"K", "v"}};
  spec.labels = {{"team", "blue"}};
  spec.init_script = "true\n";
  auto up = round_trip(api::up{spec});
  CHECK(std::get<api::up>(up.body).spec == spec);
  const auto placed = std::get<api::up>(
      round_trip(api::up{spec, "worker-1", {{"zone", "a"}}}).body);
  CHECK(placed.node == "worker-1");
  CHECK(placed.require.at("zone") == "a");
  auto exec = std::get<api::exec>(round_trip(an_exec()).body);
  CHECK(exec.argv == an_exec().argv);
  CHECK(exec.rows == 30);
  CHECK(exec.stderr_credit == 2000);
  round_trip(api::hello{"caged/0.1.0"});
  round_trip(api::list{true, true, {{"a", "b"}}});
  round_trip(api::get{"web"});
  round_trip(api::destroy{"web"});
  round_trip(api::logs{"web", "agent"});
  round_trip(api::why{"web"});
  round_trip(api::node_status{});
  round_trip(api::node_audit{});
  round_trip(api::node_shutdown{true});
  round_trip(api::stream_data{api::channel::in, 7, std::string("a\0b", 3)});
  round_trip(api::stream_ack{api::channel::exit, 0});
  round_trip(api::stream_credit{api::channel::err, 9});
  round_trip(api::stream_eof{api::channel::in, 9});
  round_trip(api::exec_signal{15});
  round_trip(api::exec_resize{30, 100});
  round_trip(api::dial{"web", 8080, 1000, true, {}});
  const auto mcp = std::get<api::dial>(
      round_trip(api::dial{"web", 0, 1000, true,
                           api::mcp_target{"tok-abc12345", true, true}})
          .body);
  REQUIRE(mcp.mcp);
  CHECK(mcp.mcp->key == "tok-abc12345");
  CHECK(mcp.mcp->read_only);
  CHECK(mcp.mcp->one_session);
  const auto token = std::get<api::token_create>(
      round_trip(
          api::token_create{
              {}, "minimal", api::token_scope::read, std::chrono::hours(8)})
          .body);
  CHECK(token.scope == api::token_scope::read);
  CHECK(token.ttl == std::chrono::hours(8));
  round_trip(api::token_list{});
  round_trip(api::token_revoke{"tok-abc12345"});
  const auto key = std::get<api::key_authorize>(
      round_trip(api::key_authorize{std::string(40, '1'), "alice",
                                    api::role::admin, true})
          .body);
  CHECK(key.as == api::role::admin);
  CHECK(key.shared);
  round_trip(api::key_revoke{std::string(40, '1')});
  round_trip(api::key_revoke{"alice"});
  round_trip(api::key_list{});
  round_trip(api::node_list{});
  CHECK(std::get<api::node_get>(round_trip(api::node_get{"worker-1"}).body).node
        == "worker-1");
  for (const bool on : {true, false})
    CHECK(std::get<api::node_cordon>(
              round_trip(api::node_cordon{"worker-1", on}).body)
              .on
          == on);
  CHECK(std::get<api::node_remove>(
            round_trip(api::node_remove{"worker-1", true}).body)
            .force);
}

TEST_CASE("a node that is not named, and what no node can have, is refused") {
  const std::string long_name(300, 'x');
  CHECK(refusal(encoded(api::node_get{})) == ec::bad_request);
  const auto join = std::get<api::join>(
      round_trip(api::join{"abcd1234", "two", std::string(40, '1'), "0.1", id})
          .body);
  CHECK(join.cluster == id);
  CHECK(join.node == "abcd1234");
  CHECK(join.name == "two");
  CHECK(join.public_key == std::string(40, '1'));
  CHECK(join.version == "0.1");
  for (const auto& bad :
       std::vector<api::join>{{"", "two", std::string(40, '1'), "", id},
                              {"a/b", "two", std::string(40, '1'), "", id},
                              {"a", "T W O", std::string(40, '1'), "", id},
                              {"a", "two", "short", "", id},
                              {"a", "two", std::string(40, '1'), "", "x"}})
    CHECK(refusal(encoded(bad)) == ec::bad_request);
  CHECK(refusal(encoded(api::join{"a", "two", std::string(40, '1'),
                                  std::string(100, '1'), id}))
        == ec::too_large);
  CHECK(std::get<api::node_token_create>(
            round_trip(api::node_token_create{std::chrono::minutes(5)}).body)
            .ttl
        == std::chrono::minutes(5));
  CHECK(refusal(encoded(api::node_token_create{std::chrono::hours(1000)}))
        == ec::bad_request);
  const auto piece = std::get<api::template_read>(
      round_trip(api::template_read{"web", std::string(64, 'a'), 1ULL << 40U})
          .body);
  CHECK(piece.template_name == "web");
  CHECK(piece.digest == std::string(64, 'a'));
  CHECK(piece.offset == 1ULL << 40U);
  for (const auto& bad :
       std::vector<api::template_read>{{"", "", 0},
                                       {"../web", "", 0},
                                       {"web", "abc", 0},
                                       {"web", std::string(64, 'G'), 0}})
    CHECK(refusal(encoded(bad)) == ec::bad_request);
  CHECK(refusal(encoded(api::node_cordon{})) == ec::bad_request);
  CHECK(refusal(encoded(api::node_remove{})) == ec::bad_request);
  CHECK(refusal(encoded(api::node_get{long_name})) == ec::too_large);
  CHECK(refusal(encoded(api::up{{}, long_name, {}})) == ec::too_large);
  CHECK(refusal(encoded(api::up{{}, {}, {{"", "a"}}})) == ec::bad_request);
  CHECK(refusal(encoded(api::up{{}, {}, {{"zone", "a\nb"}}}))
        == ec::bad_request);
  std::map<std::string, std::string> many;
  for (std::size_t i = 0; i <= limits::labels_max; ++i)
    many["label-" + std::to_string(i)] = "x";
  CHECK(refusal(encoded(api::up{{}, {}, many})) == ec::bad_request);
  many.erase(many.begin());
  // Maps have no order on the wire: no comparing of bytes.
  const auto got = api::decode_request(encoded(api::up{{}, {}, many}));
  REQUIRE(got);
  CHECK(std::get<api::up>(got->body).require == many);
}

TEST_CASE("a key that cannot be one is refused on the wire") {
  CHECK(refusal(encoded(api::key_authorize{"short", "a"})) == ec::bad_request);
  CHECK(refusal(encoded(api::key_authorize{std::string(40, '1'), "A B"}))
        == ec::bad_request);
  CHECK(refusal(encoded(api::key_authorize{std::string(40, '1'), "a",
                                           static_cast<api::role>(9)}))
        == ec::bad_request);
  CHECK(refusal(encoded(api::key_revoke{})) == ec::bad_request);
  CHECK(refusal(encoded(api::key_revoke{"No Name"})) == ec::bad_request);
}

TEST_CASE("a token and a dial that cannot be are refused on the wire") {
  using std::chrono::milliseconds;
  for (const auto& bad :
       {api::token_create{}, api::token_create{"web", "minimal"},
        api::token_create{{}, "A!"},
        api::token_create{"web", {}, api::token_scope{7}},
        api::token_create{"web", {}, api::token_scope::mcp, milliseconds{5}},
        api::token_create{
            "web", {}, api::token_scope::mcp, std::chrono::hours(24) * 400}})
    CHECK(refusal(encoded(bad)) == ec::bad_request);
  CHECK(refusal(encoded(api::token_create{std::string(300, 'x'), {}}))
        == ec::too_large);
  CHECK(refusal(encoded(api::token_revoke{"../x"})) == ec::bad_request);
  CHECK(refusal(encoded(api::dial{"web", 0, 0, false, {}})) == ec::bad_request);
  // A key becomes a path inside: nothing else fits.
  for (const auto* key : {"", "../x", "a/b", "A"})
    CHECK(refusal(encoded(api::dial{"web", 0, 0, false,
                                    api::mcp_target{key, false, false}}))
          == ec::bad_request);
  CHECK(refusal(encoded(
            api::dial{"web", 80, 0, false, api::mcp_target{"a", false, false}}))
        == ec::bad_request);
  sandbox_spec own;
  own.labels = {{"caged.mcp-session", "tok-abc12345"}};
  CHECK(refusal(encoded(api::up{own})) == ec::bad_request);
}

TEST_CASE("every reply survives its way over the wire") {
  sandbox_info info;
  info.id = "cage-abcdefgh";
  info.owner = "uid:0";
  info.state = phase::running;
  info.last_cause = {5, phase::pending, phase::running, "agent", "said hello"};
  api::get_reply get{info, host_stats{}, agent_metrics{}, 3};
  get.stats->memory_bytes = 77;
  get.metrics->network_receive_bytes = 1.5;
  api::node_status_reply status;
  status.node = "n";
  status.cpus_total = 4;
  status.by_state = {{"running", 2}};
  round_trip_reply(api::hello_reply{1, "0.1.0", "n", "uid:0"});
  round_trip_reply(api::up_progress{"starting"});
  round_trip_reply(api::up_reply{info});
  round_trip_reply(api::list_reply{{info, info}, "etcd is away"});
  round_trip_reply(get);
  round_trip_reply(api::exec_started{"cage-abcdefgh", 7, false});
  round_trip_reply(api::exec_exit{-1, 9, "signaled"});
  round_trip_reply(api::destroy_reply{"cage-abcdefgh", false});
  round_trip_reply(api::log_chunk{"x\n", true});
  round_trip_reply(api::why_reply{"cage-abcdefgh", {info.last_cause}});
  round_trip_reply(status);
  round_trip_reply(api::audit_reply{{{"loop", "loop0", "", "orphan"}}});
  round_trip_reply(api::shutdown_reply{4});
  const api::token_info token{"tok-abc12345",
                              "uid:0",
                              "cage-abcdefgh",
                              {},
                              api::token_scope::read,
                              5,
                              9};
  round_trip_reply(api::token_reply{token, "caged-secret", "http://x/v1/mcp"});
  round_trip_reply(api::token_list_reply{{token, token}});
  round_trip_reply(api::token_revoke_reply{"tok-abc12345"});
  api::node_info node;
  node.id = "n1";
  node.networks = {"none", "full"};
  node.labels = {{"zone", "a"}};
  node.live = node.cordoned = node.self = true;
  node.cordoned_by = "uid:0";
  node.metrics = "10.0.0.1:9464";
  node.cpus_total = 8;
  node.disk_gb_reserved = 5;
  node.sandboxes = 3;
  node.templates = {"minimal", "web"};
  round_trip_reply(api::node_list_reply{{node, api::node_info{}}, "old"});
  round_trip_reply(api::node_reply{node, true});
  round_trip_reply(api::node_remove_reply{"n1", "one", 2});
  round_trip_reply(api::node_token_reply{"caged-join-1.x", 7, "tcp://a:1"});
  round_trip_reply(api::join_reply{
      "cluster", "one", {"etcds://a:2379/x", "ca", "cert", "key", "u", "p"}});
  round_trip_reply(api::template_chunk{std::string(64, 'a'), 7, 3, "abcd",
                                       std::string(64, 'b')});
  round_trip_reply(api::error_reply{{ec::not_found, "no", "look"}, "s", "n"});
  round_trip_reply(api::stream_data{api::channel::out, 3, "abc"});
  round_trip_reply(api::stream_eof{api::channel::err, 3});
}

TEST_CASE("a probe is decoded as no reply") {
  auto got = api::decode_reply(api::encode_probe());
  REQUIRE(got.has_value());
  CHECK_FALSE(got->has_value());
}

TEST_CASE("bytes that are no envelope are malformed") {
  CHECK(refusal("\xff\xff\xff") == ec::malformed);
  CHECK(refusal("") == ec::malformed);
  CHECK(refusal(std::string(limits::envelope_max + 1, 'x')) == ec::too_large);
}

TEST_CASE("a client that names a caller is denied, and told under its id") {
  // Field 3, caller, behind a valid envelope: protobuf merges concatenations.
  auto bytes = encoded(api::node_status{}) + "\x1a\x05uid:0";
  CHECK(refusal(bytes) == ec::denied);
  std::string read;
  CHECK_FALSE(api::decode_request(bytes, &read).has_value());
  CHECK(read == id);
}

TEST_CASE("a node says for whom it asks, and as what") {
  api::request from;
  from.id = id;
  from.hop = 7;
  from.caller = "key:alice";
  from.viewer = true;
  from.body = api::list{};
  const auto got = api::decode_request(api::encode(from));
  REQUIRE(got);
  CHECK(got->hop == 7);
  CHECK(got->caller == "key:alice");
  CHECK(got->viewer);
  CHECK_FALSE(got->admin);
  from.caller.clear();
  CHECK(refusal(api::encode(from)) == ec::malformed);
  from.caller = std::string(300, 'x');
  CHECK(refusal(api::encode(from)) == ec::malformed);
  // Labels of caged's own are set by nodes alone.
  api::up what;
  what.spec.labels["caged.mcp"] = "tok-1";
  from.caller = "uid:0";
  from.body = what;
  CHECK(api::decode_request(api::encode(from)));
  from.hop = 0;
  CHECK(refusal(api::encode(from)) == ec::bad_request);
}

TEST_CASE("what lies beyond a limit is refused with the limit") {
  CHECK(refusal(encoded(api::stream_data{
            api::channel::in, 0, std::string(limits::frame_max + 1, 'x')}))
        == ec::too_large);
  CHECK(refusal(encoded(api::exec_signal{0})) == ec::bad_request);
  CHECK(refusal(encoded(api::exec_signal{65})) == ec::bad_request);
  CHECK(refusal(encoded(api::exec_resize{0, 80})) == ec::bad_request);
  CHECK(refusal(encoded(api::get{""})) == ec::bad_request);
  CHECK(refusal(encoded(api::get{std::string(300, 'x')})) == ec::too_large);
  auto exec = an_exec();
  exec.argv.clear();
  CHECK(refusal(encoded(exec)) == ec::bad_request);
  exec = an_exec();
  exec.argv = {std::string("a\0b", 3)};
  CHECK(refusal(encoded(exec)) == ec::bad_request);
  exec = an_exec();
  exec.stdout_credit = limits::window_max + 11;
  CHECK(refusal(encoded(exec)) == ec::too_large);
  exec = an_exec();
  exec.env = {{"A=B", "x"}};
  CHECK(refusal(encoded(exec)) == ec::bad_request);
  sandbox_spec spec;
  spec.cpus = 9;
  CHECK(refusal(encoded(api::up{spec})) == ec::bad_request);
}

TEST_CASE("cut and flipped envelopes never crash the decoder") {
  auto good = encoded(an_exec());
  for (std::size_t n = 0; n < good.size(); ++n) {
    (void)api::decode_request(good.substr(0, n));
    for (int bit = 0; bit < 8; ++bit) {
      auto bad = good;
      bad[n] = static_cast<char>(bad[n] ^ (1 << bit));
      if (auto got = api::decode_request(bad))
        CHECK(is_uuid(got->id));
    }
  }
}

TEST_CASE("the digest tells a repeat from another body") {
  sandbox_spec one, two;
  one.env = two.env = {{"A", "1"}, {"B", "2"}};
  auto digest = [](const sandbox_spec& spec) {
    return api::decode_request(encoded(api::up{spec}))->digest;
  };
  CHECK(digest(one) == digest(two));
  two.memory_mb = 1024;
  CHECK(digest(one) != digest(two));
  auto with = [](const std::string& node,
                 std::map<std::string, std::string> require) {
    return api::decode_request(encoded(api::up{{}, node, std::move(require)}))
        ->digest;
  };
  const std::set<std::uint64_t> all = {with("", {}),
                                       with("a", {}),
                                       with("b", {}),
                                       with("", {{"a", "b"}}),
                                       with("", {{"ab", ""}}),
                                       with("a", {{"a", "b"}}),
                                       with("", {{"a", "b"}, {"c", "d"}})};
  CHECK(all.size() == 7);
  CHECK(with("a", {{"a", "b"}}) == with("a", {{"a", "b"}}));
}
