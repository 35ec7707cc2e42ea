#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "actors/journal.hpp"

namespace caged {

/// A journal that says when it has committed something of a sandbox.
class told_journal final : public journal {
public:
  /// Called on the thread of the commit, after it.
  using listener = std::function<void(const sandbox_record&)>;

  told_journal(std::shared_ptr<journal> of, listener tell)
      : of_{std::move(of)}, tell_{std::move(tell)} {}

  result<void> create(const sandbox_record& sandbox,
                      const std::vector<lease>& leases,
                      const cause& why) override {
    return told(sandbox, of_->create(sandbox, leases, why));
  }
  result<void> transition(const sandbox_record& sandbox,
                          const cause& why) override {
    return told(sandbox, of_->transition(sandbox, why));
  }
  result<void> release(const sandbox_record& sandbox, const cause& why,
                       const std::vector<lease>& kept) override {
    return told(sandbox, of_->release(sandbox, why, kept));
  }
  result<std::vector<sandbox_record>> sandboxes() override {
    return of_->sandboxes();
  }
  result<std::vector<sandbox_record>> destroyed() override {
    return of_->destroyed();
  }
  result<std::vector<cause>> causes(const std::string& id) override {
    return of_->causes(id);
  }
  result<std::vector<std::pair<std::string, lease>>> leases() override {
    return of_->leases();
  }
  result<void> expire(std::int64_t before_ms) override {
    return of_->expire(before_ms);
  }
  result<std::vector<std::pair<std::string, cause>>>
  events(std::int64_t since_ms, std::size_t most) override {
    return of_->events(since_ms, most);
  }
  result<void> touch(const std::string& id,
                     std::int64_t active_boot_ms) override {
    return of_->touch(id, active_boot_ms);
  }
  result<void> put_exec(const exec_record& exec) override {
    return of_->put_exec(exec);
  }
  result<void> drop_exec(const std::string& exec) override {
    return of_->drop_exec(exec);
  }
  result<std::vector<exec_record>> execs() override { return of_->execs(); }

private:
  result<void> told(const sandbox_record& sandbox, result<void> done) {
    if (done)
      tell_(sandbox);
    return done;
  }

  const std::shared_ptr<journal> of_;
  const listener tell_;
};

} // namespace caged
