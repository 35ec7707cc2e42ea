#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "nodes/store_leases.hpp"
#include "nodes/store_watchers.hpp"

namespace caged::test {

/// A store in memory that does what a distant one may do to its users. Counts
/// are from 1, over all calls from now on, and work once.
class faulty_store final : public store {
public:
  /// What is kept when a store is closed and opened again.
  struct data {
    struct row {
      record what;
      std::int64_t lease = 0;
    };
    std::mutex mutex;
    std::map<std::string, row> rows;
    std::int64_t revision = 0;
  };

  explicit faulty_store(std::shared_ptr<data> on = std::make_shared<data>())
      : data_{std::move(on)} {
    std::lock_guard guard{data_->mutex};
    erase_where([](std::int64_t lease) { return lease != 0; });
  }

  /// The n-th call gives unavailable; nothing is done.
  void fail_call(std::int64_t n) { fail_at_ = calls_ + n; }
  /// The n-th commit is done, and gives unavailable.
  void lose_answer(std::int64_t n) { lose_at_ = commits_ + n; }
  /// Every call takes this long.
  void delay(std::chrono::milliseconds time) { delay_ms_ = time.count(); }
  /// Every call gives unavailable, and leases go on.
  void away(bool now) { away_ = now; }
  std::int64_t calls() const { return calls_; }

  result<std::int64_t>
  commit(const std::vector<compare>& compares,
         const std::vector<operation>& operations) override {
    if (auto there = call(); !there)
      return tl::unexpected<failure>(there.error());
    const bool lost = ++commits_ == lose_at_;
    auto done = apply(compares, operations);
    if (done && lost)
      return fail(ec::unavailable, "the answer was lost", "read it again");
    return done;
  }

  result<std::optional<record>> get(const std::string& key) override {
    if (auto there = call(); !there)
      return tl::unexpected<failure>(there.error());
    std::lock_guard guard{data_->mutex};
    const auto at = data_->rows.find(key);
    return at == data_->rows.end() ? std::nullopt
                                   : std::optional{at->second.what};
  }

  result<std::vector<record>> list(const std::string& prefix) override {
    if (auto there = call(); !there)
      return tl::unexpected<failure>(there.error());
    std::lock_guard guard{data_->mutex};
    std::vector<record> out;
    for (const auto& [key, row] : data_->rows)
      if (key.starts_with(prefix))
        out.push_back(row.what);
    return out;
  }

  result<std::shared_ptr<void>> watch(const std::string& prefix,
                                      watch_handler handler) override {
    if (auto there = call(); !there)
      return tl::unexpected<failure>(there.error());
    return watchers_.add(prefix, std::move(handler));
  }

  result<store_lease> grant(std::chrono::seconds ttl) override {
    if (auto there = call(); !there)
      return tl::unexpected<failure>(there.error());
    return leases_.grant(ttl);
  }

  result<void> keep_alive(std::int64_t lease) override {
    if (auto there = call(); !there)
      return there;
    return leases_.keep_alive(lease);
  }

  result<void> revoke(std::int64_t lease) override {
    if (auto there = call(); !there)
      return there;
    leases_.drop(lease);
    end(lease);
    return {};
  }

  std::string kind() const override { return "memory"; }

private:
  result<void> call() {
    const bool fails = ++calls_ == fail_at_ || away_;
    if (const auto time = delay_ms_.load(); time > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds{time});
    if (fails)
      return fail(ec::unavailable, "the store is away", "try again");
    return {};
  }

  result<std::int64_t> apply(const std::vector<compare>& compares,
                             const std::vector<operation>& operations) {
    std::lock_guard guard{data_->mutex};
    auto& rows = data_->rows;
    for (const auto& one : compares) {
      const auto at = rows.find(one.key);
      if ((at == rows.end() ? 0 : at->second.what.revision) != one.revision)
        return fail(ec::conflict, one.key + " was changed", "read it again");
    }
    if (auto alive = leases_.check(operations); !alive)
      return tl::unexpected<failure>(alive.error());
    const auto revision = ++data_->revision;
    std::vector<store_watchers::change> changes;
    for (const auto& one : operations) {
      if (one.what == operation::kind::put) {
        rows[one.key] = {{one.key, one.value, revision}, one.lease};
        changes.push_back({{one.key, one.value, revision}, false});
      } else if (rows.erase(one.key) != 0) {
        changes.push_back({{one.key, {}, revision}, true});
      }
    }
    watchers_.changed(std::move(changes));
    return revision;
  }

  void end(std::int64_t lease) {
    std::lock_guard guard{data_->mutex};
    erase_where([lease](std::int64_t of) { return of == lease; });
  }

  template <class Which>
  void erase_where(Which which) {
    std::vector<store_watchers::change> changes;
    const auto revision = ++data_->revision;
    std::erase_if(data_->rows, [&](const auto& item) {
      if (!which(item.second.lease))
        return false;
      changes.push_back({{item.first, {}, revision}, true});
      return true;
    });
    watchers_.changed(std::move(changes));
  }

  std::shared_ptr<data> data_;
  std::atomic<std::int64_t> calls_{0}, commits_{0}, fail_at_{0}, lose_at_{0},
      delay_ms_{0};
  std::atomic<bool> away_{false};
  store_watchers watchers_;
  // Last: its thread uses the others.
  store_leases leases_{[this](std::int64_t lease) {
    end(lease);
    return true;
  }};
};

} // namespace caged::test
