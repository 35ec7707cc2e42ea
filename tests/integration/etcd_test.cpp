#include <atomic>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "messages/text.hpp"
#include "nodes/etcd/etcd_store.hpp"
#include "tests/support/etcd.hpp"
#include "tests/support/http_proxy.hpp"
#include "tests/unit/nodes/store_contract.hpp"

// The etcd store on a real etcd of one member, at times behind a bad network.
using namespace caged;
using namespace caged::test;
using fate = http_proxy::fate;

namespace {

std::unique_ptr<store> open_or_fail(const etcd_options& options) {
  auto made = open_etcd_store(options);
  INFO((made ? std::string{} : made.error().message));
  REQUIRE(made);
  return std::move(*made);
}

/// Through a proxy alone.
etcd_options through(const http_proxy& proxy, const etcd_cluster& etcd) {
  auto out = etcd.options();
  out.endpoints = {{"127.0.0.1", proxy.port()}};
  return out;
}

bool is(const std::string& request, const char* path) {
  return request.starts_with(std::string{"POST "} + path + " ");
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A commit of this key's value, whatever the slots do.
bool writes(const std::string& request, const std::string& value) {
  return is(request, "/v3/kv/txn")
         && has(request, "\"value\":\"" + base64_encode(value) + "\"");
}

} // namespace

TEST_CASE("etcd keeps the contract of stores") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  const auto start = std::chrono::steady_clock::now();
  store_contract([&] { return open_etcd_store(etcd.options()); });
  std::cout << "contract of stores: "
            << std::chrono::duration_cast<std::chrono::milliseconds>(
                   std::chrono::steady_clock::now() - start)
                   .count()
            << " ms\n";
  // What its users cannot see is not in their way.
  auto one = open_or_fail(etcd.options());
  const auto visible = one->list("");
  REQUIRE(visible);
  for (const auto& each : *visible)
    CHECK_FALSE(has(each.key, "commits"));
  std::vector<operation> many;
  for (int i = 0; i < 128; ++i)
    many.push_back(put("many/" + std::to_string(i), "x"));
  CHECK(one->commit({}, many).error().code == ec::too_large);
  many.pop_back();
  CHECK(one->commit({}, many));
  CHECK(one->commit({}, {put("a", "x"), put("a", "y")}).error().code
        == ec::bad_request);
}

TEST_CASE("etcd keeps the contract of leases") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  lease_contract([&] { return open_etcd_store(etcd.options()); });
  // Theirs outlive the process.
  auto one = open_or_fail(etcd.options());
  const auto lease = one->grant(600s);
  REQUIRE(lease);
  REQUIRE(one->commit({}, {{operation::kind::put, "a", "x", lease->id}}));
  one = open_or_fail(etcd.options());
  CHECK((*one->get("a"))->value == "x");
  CHECK(one->keep_alive(lease->id));
}

TEST_CASE("etcd lists more records than a page has") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  auto one = open_or_fail(etcd.options());
  std::vector<operation> some;
  for (int i = 0; i < 2500; ++i) {
    some.push_back(put("k/" + std::to_string(10000 + i), std::to_string(i)));
    if (some.size() == 125) {
      REQUIRE(one->commit({}, some));
      some.clear();
    }
  }
  const auto all = one->list("k/");
  REQUIRE(all);
  REQUIRE(all->size() == 2500);
  for (std::size_t i = 0; i < all->size(); ++i)
    REQUIRE((*all)[i].value == std::to_string(i));
}

TEST_CASE("etcd commits happen once though answers are lost") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  http_proxy proxy{etcd.endpoint(0).port};
  std::mt19937 chance{7};
  std::atomic<int> lost{0};
  proxy.decide([&](const std::string& request) {
    if (!is(request, "/v3/kv/txn") || chance() % 3 != 0)
      return fate::pass;
    ++lost;
    return chance() % 2 == 0 ? fate::lose_answer : fate::hold;
  });
  constexpr int threads = 4, steps = 60;
  {
    auto one = open_or_fail(through(proxy, etcd));
    watched seen;
    auto direct = open_or_fail(etcd.options());
    auto token = direct->watch("n/", seen.handler());
    REQUIRE(token);
    std::atomic<int> wrong{0};
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t)
      all.emplace_back([&, key = "n/" + std::to_string(t)] {
        std::int64_t revision = 0;
        for (int i = 1; i <= steps; ++i) {
          auto done =
              one->commit({{key, revision}}, {put(key, std::to_string(i))});
          if (!done)
            ++wrong;
          else
            revision = *done;
        }
      });
    for (auto& each : all)
      each.join();
    CHECK(wrong == 0);
    // Copies that were held up come now, long after: too late.
    const auto late = proxy.release();
    CHECK(late > 0);
    for (int t = 0; t < threads; ++t)
      CHECK((*one->get("n/" + std::to_string(t)))->value
            == std::to_string(steps));
    CHECK(seen.wait(threads * steps).size() == threads * steps);
    REQUIRE(direct->commit({}, {put("n/end", "")}));
    CHECK(seen.wait(threads * steps + 1).size() == threads * steps + 1);
    std::cout << "commits " << threads * steps << ", answers or requests lost "
              << lost << ", came late " << late << ", wrong " << wrong << '\n';
  }
}

TEST_CASE("etcd conflicts are final: no copy of the commit comes later") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  auto other = open_or_fail(etcd.options());
  http_proxy proxy{etcd.endpoint(0).port};
  auto one = open_or_fail(through(proxy, etcd));
  REQUIRE(one->commit({}, {put("warm", "")}));
  // The first copy is held; before the second one somebody else has the key.
  std::atomic<int> copies{0};
  std::atomic<bool> taken{false};
  proxy.decide([&](const std::string& request) {
    if (!writes(request, "mine") || copies++ > 0)
      return fate::pass;
    taken = other->commit({{"k", 0}}, {put("k", "theirs")}).has_value();
    return fate::hold;
  });
  auto got = one->commit({{"k", 0}}, {put("k", "mine")});
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ec::conflict);
  CHECK(taken);
  CHECK(copies == 2);
  // The key is free again: the first copy would do now.
  REQUIRE(other->commit({}, {erase("k")}));
  CHECK(proxy.release() == 1);
  CHECK_FALSE(other->get("k")->has_value());

  // Our own success is no conflict, however often its answer is lost.
  std::atomic<int> lost{0};
  proxy.decide([&](const std::string& request) {
    return writes(request, "ours") && lost++ < 3 ? fate::lose_answer
                                                 : fate::pass;
  });
  auto ours = one->commit({{"k", 0}}, {put("k", "ours")});
  REQUIRE(ours);
  CHECK((*other->get("k"))->revision == *ours);
  CHECK(lost == 4);
}

TEST_CASE("etcd calls do not wait for a slow one") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  http_proxy proxy{etcd.endpoint(0).port};
  auto options = through(proxy, etcd);
  options.call_timeout = 60s;
  options.total_timeout = 60s;
  auto one = open_or_fail(options);
  REQUIRE(one->commit({}, {put("a", "1")}));
  std::atomic<bool> held{false}, done{false}, good{false};
  proxy.decide([&](const std::string& request) {
    if (!writes(request, "slow"))
      return fate::pass;
    held = true;
    return fate::keep_waiting;
  });
  std::thread slow{[&] {
    good = one->commit({}, {put("b", "slow")}).has_value();
    done = true;
  }};
  CHECK(eventually(patient(10s), [&] { return held.load(); }));
  for (int i = 0; i < 20; ++i) {
    CHECK(one->get("a"));
    CHECK(one->commit({}, {put("c", "x")}));
  }
  CHECK_FALSE(done);
  proxy.release();
  slow.join();
  CHECK(good);
  CHECK((*one->get("b"))->value == "slow");
}

TEST_CASE("etcd watches notice a connection that died silently") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  auto other = open_or_fail(etcd.options());
  http_proxy proxy{etcd.endpoint(0).port};
  auto one = open_or_fail(through(proxy, etcd));
  watched seen;
  auto token = one->watch("w/", seen.handler());
  REQUIRE(token);
  REQUIRE(other->commit({}, {put("w/1", "a")}));
  REQUIRE(seen.wait(1).size() == 1);
  proxy.freeze();
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(other->commit({}, {put("w/2", "b")}));
  REQUIRE(other->commit({}, {erase("w/1")}));
  const auto got = seen.wait(3);
  const auto gap = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start);
  REQUIRE(got.size() == 3);
  CHECK(got[1] == "+w/2=b");
  CHECK(got[2] == "-w/1=");
  CHECK(gap < patient(8s));
  std::cout << "a silent watch went on after " << gap.count() << " ms\n";
}

TEST_CASE("etcd watches go on behind a compaction, erasures included") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd;
  REQUIRE(etcd.start());
  auto other = open_or_fail(etcd.options());
  REQUIRE(other->commit({}, {put("w/gone", "1"), put("w/same", "1"),
                             put("w/changed", "1"), put("w/again", "1")}));
  http_proxy proxy{etcd.endpoint(0).port};
  auto one = open_or_fail(through(proxy, etcd));
  watched seen;
  auto token = one->watch("w/", seen.handler());
  REQUIRE(token);
  REQUIRE(other->commit({}, {put("w/seen", "1")}));
  REQUIRE(seen.wait(1).size() == 1);
  proxy.cut(true);
  CHECK(one->get("a").error().code == ec::unavailable);
  REQUIRE(other->commit({}, {put("w/changed", "2"), erase("w/gone")}));
  REQUIRE(other->commit({}, {put("w/changed", "3"), erase("w/again")}));
  REQUIRE(other->commit({}, {put("w/new", "1"), put("w/brief", "1")}));
  REQUIRE(other->commit({}, {put("w/again", "2"), erase("w/brief")}));
  REQUIRE(other->commit({}, {erase("w/seen"), put("elsewhere", "x")}));
  const auto now = etcd.revision();
  REQUIRE(etcd.call("/v3/kv/compaction",
                    {{"revision", std::to_string(now)}, {"physical", true}})
              .is_object());
  proxy.cut(false);
  auto got = seen.wait(6);
  REQUIRE(got.size() == 6);
  CHECK(got[1] == "+w/changed=3");
  CHECK(got[2] == "+w/new=1");
  CHECK(got[3] == "+w/again=2");
  CHECK(got[4] == "-w/gone=");
  CHECK(got[5] == "-w/seen=");
  // And then as before.
  REQUIRE(other->commit({}, {put("w/after", "1")}));
  CHECK(seen.wait(7).back() == "+w/after=1");
}

TEST_CASE("etcd with TLS, client certificates, a user and a password") {
  if (!etcd_cluster::can_run())
    return;
  etcd_setup setup;
  setup.tls = true;
  setup.flags = {"--bcrypt-cost", "4"};
  etcd_cluster etcd{setup};
  const bool started = etcd.start();
  INFO(etcd.log(0));
  REQUIRE(started);
  const auto key = base64_encode("/test/fleet/"),
             end = base64_encode("/test/fleet0");
  auto admin = [&](const char* what, const nlohmann::json& body) {
    INFO(what);
    REQUIRE(etcd.call(std::string{"/v3/auth/"} + what, body).is_object());
  };
  admin("user/add", {{"name", "root"}, {"password", "root's own"}});
  admin("role/add", {{"name", "root"}});
  admin("user/grant", {{"user", "root"}, {"role", "root"}});
  admin("user/add", {{"name", "caged"}, {"password", "s3cret pass"}});
  admin("role/add", {{"name", "fleet"}});
  admin("role/grant",
        {{"name", "fleet"},
         {"perm",
          {{"permType", "READWRITE"}, {"key", key}, {"range_end", end}}}});
  admin("user/grant", {{"user", "caged"}, {"role", "fleet"}});
  admin("enable", nlohmann::json::object());

  temp_dir files;
  write_file(files / "password", "s3cret pass\n", 0600);
  auto options = etcd.options();
  options.user = "caged";
  options.password_file = files / "password";
  std::filesystem::permissions(options.key_file,
                               std::filesystem::perms::owner_read
                                   | std::filesystem::perms::owner_write);
  {
    const auto first = open_or_fail(options)->get("a");
    INFO((first ? std::string{} : first.error().message));
    REQUIRE(first);
  }
  store_contract([&] { return open_etcd_store(options); });

  auto one = open_or_fail(options);
  watched seen;
  auto token = one->watch("w/", seen.handler());
  REQUIRE(token);
  REQUIRE(one->commit({}, {put("w/1", "a")}));
  REQUIRE(seen.wait(1).size() == 1);

  // Members forget tokens when they restart: a new one is fetched.
  etcd.kill(0);
  etcd.start(0);
  REQUIRE(
      eventually(patient(30s), [&] { return one->get("w/1").has_value(); }));
  REQUIRE(one->commit({}, {put("w/2", "b")}));
  CHECK(seen.wait(2).back() == "+w/2=b");

  std::string said;
  auto refusal = [&said](const etcd_options& with) {
    auto got = open_or_fail(with)->get("a");
    REQUIRE_FALSE(got);
    CHECK_FALSE(has(got.error().message + got.error().hint, "s3cret"));
    CHECK_FALSE(has(got.error().message + got.error().hint, "guessed"));
    std::cout << "  " << got.error().message << '\n';
    said = got.error().message;
    return got.error().code;
  };
  auto wrong = options;
  wrong.password_file = files / "wrong";
  write_file(files / "wrong", "guessed", 0600);
  CHECK(refusal(wrong) == ec::denied);
  auto elsewhere = options;
  elsewhere.prefix = "other";
  CHECK(refusal(elsewhere) == ec::denied);
  auto nobody = options;
  nobody.user.clear();
  nobody.password_file.clear();
  CHECK(refusal(nobody) == ec::denied);
  auto bare = options;
  bare.cert_file.clear();
  bare.key_file.clear();
  bare.total_timeout = 1s;
  CHECK(refusal(bare) == ec::unavailable);
  auto plain = nobody;
  plain.tls = false;
  plain.ca_file = plain.cert_file = plain.key_file = "";
  plain.total_timeout = 1s;
  CHECK(refusal(plain) == ec::unavailable);
  CHECK(has(said, "wants TLS"));
  // Somebody else's authority.
  REQUIRE(run({"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
               "-days", "2", "-subj", "/CN=other", "-keyout", files / "k",
               "-out", files / "other.pem"})
              .exit
          == 0);
  auto foreign = options;
  foreign.ca_file = files / "other.pem";
  foreign.total_timeout = 1s;
  CHECK(refusal(foreign) == ec::unavailable);
  // The right authority, another name.
  auto named = options;
  named.endpoints[0].host = "localhost"; // the certificate has the address
  named.total_timeout = 1s;
  CHECK(refusal(named) == ec::unavailable);
}
