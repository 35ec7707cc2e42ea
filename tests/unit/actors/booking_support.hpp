#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "actors/booking.hpp"
#include "tests/support/faulty_store.hpp"

/// For the tests of bookings and of the scheduler.
namespace caged::test {

inline const capacity small{1, 512, 5}; ///< what a sandbox takes by itself

inline placement_record place_for(unsigned number, std::string node,
                                  std::string name = {}) {
  auto digits = std::to_string(number);
  placement_record out;
  out.sandbox = "cage-" + std::string(8 - digits.size(), '0') + digits;
  out.node = std::move(node);
  out.owner = "uid:1000";
  out.name = std::move(name);
  out.request_id = "request " + digits;
  out.digest = number;
  out.takes = small;
  out.created_ms = 1;
  return out;
}

inline void put_key(store& in, const std::string& key,
                    const std::string& value) {
  REQUIRE(in.commit({}, {{operation::kind::put, key, value}}));
}

inline std::vector<record> listed(store& in, const char* prefix) {
  return in.list(prefix).value();
}

/// What is wrong with the books: every node's reservation is the sum of its
/// placements, and names and placements belong together. Empty: nothing.
inline std::string look_at_books(store& in) {
  std::map<std::string, reserved_record> sums;
  std::map<std::string, std::string> names;
  for (const auto& each : listed(in, "placements/")) {
    const auto id = each.key.substr(std::string{"placements/"}.size());
    const auto what = decode_placement(id, each.value);
    if (!what)
      return what.error().message;
    auto& sum = sums[what->node];
    sum.used.cpus += what->takes.cpus;
    sum.used.memory_mb += what->takes.memory_mb;
    sum.used.disk_gb += what->takes.disk_gb;
    ++sum.sandboxes;
    if (!what->name.empty())
      names[name_key(what->owner, what->name)] = id;
  }
  for (const auto& each : listed(in, "nodes/"))
    if (const auto node = node_of_key(each.key, "reserved"); !node.empty())
      sums.try_emplace(std::string{node});
  for (const auto& [node, sum] : sums) {
    const auto reserved = read_reserved(in, node);
    if (!reserved || reserved->what != sum)
      return "of " + node + " is reserved "
             + (reserved ? encode(reserved->what) : "what nobody can read")
             + ", its placements take " + encode(sum);
  }
  std::map<std::string, std::string> found;
  for (const auto& each : listed(in, "names/"))
    found[each.key] = each.value;
  return found == names ? "" : "names are not those of the placements";
}

/// Does something of somebody else's just before a call, or loses a commit on
/// its way, which arrives later.
class hooked_store final : public store {
public:
  explicit hooked_store(store& on) : on_{on} {}
  std::function<void()> before_commit, before_list;
  int commits = 0;
  int hold = 0; ///< so many commits from now on are under way, and in doubt

  /// What is under way arrives. How much of it was done.
  int carry_out() {
    int done = 0;
    for (const auto& [compares, operations] : held_)
      done += on_.commit(compares, operations) ? 1 : 0;
    held_.clear();
    return done;
  }

  result<std::int64_t>
  commit(const std::vector<compare>& compares,
         const std::vector<operation>& operations) override {
    ++commits;
    if (before_commit)
      before_commit();
    if (hold > 0) {
      --hold;
      held_.emplace_back(compares, operations);
      return fail(ec::unavailable, "no answer");
    }
    return on_.commit(compares, operations);
  }
  result<std::optional<record>> get(const std::string& key) override {
    return on_.get(key);
  }
  result<std::vector<record>> list(const std::string& prefix) override {
    if (before_list)
      before_list();
    return on_.list(prefix);
  }
  result<std::shared_ptr<void>> watch(const std::string& prefix,
                                      watch_handler handler) override {
    return on_.watch(prefix, std::move(handler));
  }
  result<store_lease> grant(std::chrono::seconds ttl) override {
    return on_.grant(ttl);
  }
  result<void> keep_alive(std::int64_t lease) override {
    return on_.keep_alive(lease);
  }
  result<void> revoke(std::int64_t lease) override { return on_.revoke(lease); }
  std::string kind() const override { return on_.kind(); }

private:
  store& on_;
  std::vector<std::pair<std::vector<compare>, std::vector<operation>>> held_;
};

/// Every value that a reservation ever has, from a watch.
class reserved_history {
public:
  explicit reserved_history(store& of) : of_{of} {
    auto token = of.watch("nodes/", [this](const record& what, bool erased) {
      std::lock_guard guard{mutex_};
      if (what.key == end_key)
        ended_ = true;
      else if (const auto node = node_of_key(what.key, "reserved");
               !node.empty() && !erased)
        values_.emplace_back(node, decode_reserved(what.value).value());
      changed_.notify_all();
    });
    REQUIRE(token);
    token_ = std::move(*token);
  }

  /// Those of all commits until now: (node, value).
  std::vector<std::pair<std::string, reserved_record>> all() {
    put_key(of_, end_key, "");
    std::unique_lock guard{mutex_};
    REQUIRE(changed_.wait_for(guard, std::chrono::seconds(60),
                              [this] { return ended_; }));
    return values_;
  }

private:
  static constexpr const char* end_key = "nodes/end";
  store& of_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::vector<std::pair<std::string, reserved_record>> values_;
  std::shared_ptr<void> token_; // last: the handler uses the others
};

} // namespace caged::test
