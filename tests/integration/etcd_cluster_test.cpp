#include <algorithm>
#include <atomic>
#include <csignal>
#include <iostream>
#include <map>
#include <thread>

#include "nodes/etcd/etcd_store.hpp"
#include "tests/support/etcd.hpp"
#include "tests/unit/nodes/store_contract.hpp"

// The etcd store on a real etcd of three members, some of which die.
using namespace caged;
using namespace caged::test;
using std::chrono::duration_cast;
using std::chrono::milliseconds;
using steady = std::chrono::steady_clock;

namespace {

std::unique_ptr<store> open_or_fail(const etcd_options& options) {
  auto made = open_etcd_store(options);
  REQUIRE(made);
  return std::move(*made);
}

milliseconds since(steady::time_point start) {
  return duration_cast<milliseconds>(steady::now() - start);
}

/// Counters, each counted up by one thread in commits that depend on the last.
class load {
public:
  load(store& on, unsigned threads) : on_{on}, counts_(threads) {
    for (unsigned i = 0; i < threads; ++i)
      threads_.emplace_back([this, i] { count(i); });
  }
  ~load() { stop(); }

  void stop() {
    stopping_ = true;
    for (auto& one : threads_)
      if (one.joinable())
        one.join();
  }

  int done() const { return done_; }                      ///< acknowledged
  int unknown() const { return unknown_; }                ///< unavailable
  int wrong() const { return wrong_; }                    ///< anything else
  milliseconds gap() const { return milliseconds{gap_}; } ///< between any two
  /// What each counter must be: it was acknowledged, or read.
  const std::vector<int>& counts() const { return counts_; }
  static std::string key(unsigned i) { return "n/" + std::to_string(i); }

private:
  void count(unsigned i) {
    std::int64_t revision = 0;
    while (!stopping_) {
      const auto next = counts_[i] + 1;
      auto got =
          on_.commit({{key(i), revision}}, {put(key(i), std::to_string(next))});
      if (got) {
        revision = *got;
        counts_[i] = next;
        ++done_;
        const auto now = steady::now().time_since_epoch();
        const auto at = duration_cast<milliseconds>(now).count();
        const auto before = last_.exchange(at);
        if (before != 0 && at - before > gap_)
          gap_ = at - before;
        continue;
      }
      if (got.error().code != ec::unavailable) {
        ++wrong_;
        return;
      }
      ++unknown_;
      // As every user must: read, then go on from there.
      while (!stopping_) {
        auto read = on_.get(key(i));
        if (!read)
          continue;
        if (*read) {
          revision = (*read)->revision;
          counts_[i] = std::stoi((*read)->value);
        }
        break;
      }
    }
  }

  store& on_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> done_{0}, unknown_{0}, wrong_{0};
  std::atomic<std::int64_t> last_{0}, gap_{0};
  std::vector<int> counts_;
  std::vector<std::thread> threads_;
};

/// Every counter was seen with each of its values once, in order.
void check_seen(const std::vector<std::string>& seen,
                const std::vector<int>& counts) {
  std::map<std::string, int> at;
  int bad = 0;
  for (const auto& one : seen) {
    const auto equals = one.find('=');
    const auto key = one.substr(1, equals - 1);
    if (one[0] != '+' || std::stoi(one.substr(equals + 1)) != ++at[key])
      ++bad;
  }
  CHECK(bad == 0);
  for (unsigned i = 0; i < counts.size(); ++i)
    CHECK(at[load::key(i)] == counts[i]);
}

} // namespace

TEST_CASE(
    "etcd's leader is killed under commits: none is lost, none is doubled") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd{etcd_setup{3}};
  REQUIRE(etcd.start());
  const auto leader = etcd.leader();
  REQUIRE(leader);
  // Its clients are on the leader, the watch's on another member.
  auto one = open_or_fail(etcd.options(*leader));
  auto other = open_or_fail(etcd.options((*leader + 1) % 3));
  watched seen;
  auto token = other->watch("n/", seen.handler());
  watched seen_too;
  auto token_too = one->watch("n/", seen_too.handler());
  REQUIRE(token);
  REQUIRE(token_too);
  load users{*one, 4};
  const auto start = steady::now();
  REQUIRE(eventually(patient(60s), [&] { return users.done() >= 300; }));
  const auto rate =
      1000.0 * users.done()
      / static_cast<double>(std::max<std::int64_t>(1, since(start).count()));
  const auto before = users.done();
  const auto quiet_gap = users.gap();
  etcd.kill(*leader);
  REQUIRE(
      eventually(patient(60s), [&] { return users.done() >= before + 300; }));
  users.stop();
  CHECK(users.wrong() == 0);
  for (unsigned i = 0; i < users.counts().size(); ++i)
    CHECK((*other->get(load::key(i)))->value
          == std::to_string(users.counts()[i]));
  std::size_t all = 0;
  for (const auto count : users.counts())
    all += static_cast<std::size_t>(count);
  check_seen(seen.wait(all), users.counts());
  check_seen(seen_too.wait(all), users.counts());
  std::cout << "leader killed: " << users.done() << " commits acknowledged ("
            << static_cast<int>(rate) << "/s before), " << users.unknown()
            << " unavailable, " << users.wrong() << " wrong; longest gap "
            << users.gap().count() << " ms (" << quiet_gap.count()
            << " ms before the kill)\n";
}

TEST_CASE("etcd goes on while a minority is gone or stands still") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd{etcd_setup{3}};
  REQUIRE(etcd.start());
  const auto leader = etcd.leader();
  REQUIRE(leader);
  const auto follower = (*leader + 1) % 3;
  // Everything of this store is at the follower.
  auto one = open_or_fail(etcd.options(follower));
  auto other = open_or_fail(etcd.options(*leader));
  watched seen;
  auto token = one->watch("w/", seen.handler());
  REQUIRE(token);
  REQUIRE(one->commit({}, {put("w/0", "x")}));
  REQUIRE(seen.wait(1).size() == 1);

  etcd.signal(follower, SIGSTOP);
  auto start = steady::now();
  REQUIRE(one->commit({}, {put("w/1", "x")}));
  const auto first = since(start);
  start = steady::now();
  REQUIRE(one->commit({}, {put("w/2", "x")}));
  const auto second = since(start);
  start = steady::now();
  const auto got = seen.wait(3);
  const auto watch = since(start);
  REQUIRE(got.size() == 3);
  CHECK(got[1] == "+w/1=x");
  CHECK(first < patient(4s));
  CHECK(watch < patient(8s));
  etcd.signal(follower, SIGCONT);
  std::cout << "a member stopped: first commit " << first.count()
            << " ms, second " << second.count() << " ms, its watch went on "
            << watch.count() << " ms later\n";

  REQUIRE(eventually(patient(20s), [&] { return etcd.answers(follower); }));
  etcd.kill(follower);
  start = steady::now();
  for (int i = 3; i < 20; ++i)
    REQUIRE(one->commit({}, {put("w/" + std::to_string(i), "x")}));
  CHECK(since(start) < patient(5s));
  CHECK(seen.wait(20).size() == 20);
  std::cout << "a member killed: 17 commits in " << since(start).count()
            << " ms\n";
}

TEST_CASE("etcd is away: calls fail in bounded time, watches miss nothing") {
  if (!etcd_cluster::can_run())
    return;
  etcd_cluster etcd{etcd_setup{3}};
  REQUIRE(etcd.start());
  auto one = open_or_fail(etcd.options());
  watched seen;
  auto token = one->watch("w/", seen.handler());
  REQUIRE(token);
  const auto lease = one->grant(600s);
  REQUIRE(lease);
  REQUIRE(one->commit(
      {}, {put("w/1", "a"), {operation::kind::put, "l", "x", lease->id}}));
  REQUIRE(seen.wait(1).size() == 1);

  auto longest = [&](const char* how) {
    milliseconds first{0}, most{0};
    for (int i = 0; i < 4; ++i) {
      auto start = steady::now();
      CHECK(one->get("w/1").error().code == ec::unavailable);
      if (i == 0)
        first = since(start);
      else
        most = std::max(most, since(start));
      start = steady::now();
      CHECK(one->commit({{"w/9", 0}}, {put("w/9", "x")}).error().code
            == ec::unavailable);
      CHECK(one->keep_alive(lease->id).error().code == ec::unavailable);
      most = std::max(most, since(start) / 2);
    }
    CHECK(first < patient(7s));
    CHECK(most < patient(3s));
    std::cout << how << ": first call unavailable after " << first.count()
              << " ms, then at most " << most.count() << " ms\n";
  };
  // A majority is gone: the one left cannot decide.
  etcd.kill(1);
  etcd.kill(2);
  longest("two of three killed");
  etcd.kill(0);
  longest("all killed");

  // They come back; somebody else is quicker than our watch.
  for (unsigned i = 0; i < 3; ++i)
    etcd.start(i);
  auto other = open_or_fail(etcd.options(1));
  result<std::int64_t> made;
  REQUIRE(eventually(patient(60s), [&] {
    made = other->commit({{"w/2", 0}}, {put("w/2", "b")});
    return made || made.error().code == ec::conflict;
  }));
  CHECK(made);
  REQUIRE(eventually(patient(20s), [&] {
    return other->commit({}, {put("w/1", "c")}).has_value();
  }));
  REQUIRE(
      eventually(patient(20s), [&] { return one->get("w/2").has_value(); }));
  REQUIRE(one->commit({}, {erase("w/2")}));
  CHECK(one->keep_alive(lease->id));

  // One of the commits that nobody knew of may have been carried out.
  std::vector<std::string> got;
  REQUIRE(eventually(patient(20s), [&] {
    got = seen.wait(0);
    return !got.empty() && got.back() == "-w/2=";
  }));
  std::erase(got, "+w/9=x");
  REQUIRE(got.size() >= 4);
  CHECK(got[0] == "+w/1=a");
  CHECK(got[1] == "+w/2=b");
  CHECK(got[2] == "+w/1=c");
  CHECK(got.back() == "-w/2=");
}
