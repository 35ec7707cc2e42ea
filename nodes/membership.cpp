#include "nodes/membership.hpp"

#include <utility>

#include "messages/text.hpp"

namespace caged {

membership::membership(
    std::shared_ptr<store> in, node_record self, options how,
    std::function<void(const std::optional<failure>&)> changed)
    : in_{std::move(in)},
      self_{std::move(self)},
      how_{how},
      changed_{std::move(changed)},
      thread_{[this] { run(); }} {}

membership::~membership() {
  {
    const std::lock_guard guard{mutex_};
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

std::optional<failure> membership::away() const {
  const std::lock_guard guard{mutex_};
  return away_;
}

void membership::look_again() {
  {
    const std::lock_guard guard{mutex_};
    look_ = true;
  }
  stop_.notify_all();
}

void membership::run() {
  for (bool first = true;; first = false) {
    const auto done = beat();
    bool news = false;
    {
      const std::lock_guard guard{mutex_};
      news = first || away_.has_value() == done.has_value();
      away_ = done ? std::nullopt : std::optional{done.error()};
    }
    if (news && changed_)
      changed_(done ? std::nullopt : std::optional{done.error()});
    std::unique_lock guard{mutex_};
    stop_.wait_for(guard, how_.beat, [this] { return stopping_ || look_; });
    if (stopping_)
      return;
    if (std::exchange(look_, false))
      lease_ = 0;
  }
}

result<void> membership::beat() {
  if (lease_ != 0) {
    auto alive = in_->keep_alive(lease_);
    if (alive)
      return offer();
    if (alive.error().code != ec::not_found)
      return alive;
    lease_ = 0; // we were silent for too long: others call us lost
  }
  return join();
}

result<void> membership::join() {
  const auto lease = in_->grant(how_.ttl);
  if (!lease)
    return tl::unexpected<failure>(lease.error());
  operation alive{operation::kind::put, node_key(self_.id, "live"),
                  self_.version, lease->id};
  std::vector<operation> all = {
      {operation::kind::put, node_key(self_.id, "info"), encode(self_)},
      std::move(alive)};
  // Who is seen to be there is seen with what it has.
  auto offers = how_.offers ? how_.offers() : std::string{};
  if (!offers.empty())
    all.push_back({operation::kind::put, node_key(self_.id, "offers"), offers});
  // Twice is as good as once: unavailable means that it is tried again.
  const auto removed = removed_key(self_.id);
  auto done = in_->commit({{removed, 0}}, all);
  if (!done && done.error().code == ec::conflict) {
    const auto by = in_->get(removed);
    if (!by)
      return tl::unexpected<failure>(by.error());
    if (!*by) // a host has joined under this id in this moment
      return fail(ec::unavailable, "the store changes meanwhile");
    return is_removed((*by)->value);
  }
  if (!done)
    return tl::unexpected<failure>(done.error());
  lease_ = lease->id;
  offered_ = std::move(offers);
  return {};
}

tl::unexpected<failure> membership::is_removed(const std::string& by) {
  const failure why{
      ec::denied,
      "this node was removed from the fleet"
          + (by.empty() ? std::string{} : " by " + escape_text(by, 64)),
      "to make it a node again, join with a new token: "
      "caged-node join"};
  if (!std::exchange(removed_, true) && how_.removed)
    how_.removed(why);
  return tl::unexpected<failure>(why);
}

result<void> membership::offer() {
  auto offers = how_.offers ? how_.offers() : std::string{};
  if (offers.empty() || offers == offered_)
    return {};
  auto done = in_->commit(
      {}, {{operation::kind::put, node_key(self_.id, "offers"), offers}});
  if (!done)
    return tl::unexpected<failure>(done.error());
  offered_ = std::move(offers);
  return {};
}

} // namespace caged
