#include "tests/bench/load.hpp"

#include <algorithm>

#include "messages/text.hpp"

namespace caged::bench {

using namespace std::chrono_literals;

result<load> load::open(const std::string& endpoint) {
  auto made = cli::connection::open(endpoint);
  if (!made)
    return tl::unexpected<failure>(made.error());
  return load{std::move(*made)};
}

std::string load::send(api::request_body body,
                       std::function<bool(const api::reply_body&)> is_last,
                       when_done then, std::function<void()> refused) {
  api::request out;
  out.id = make_uuid();
  out.remaining = patience;
  out.body = std::move(body);
  node_->send(out);
  calls_[out.id] = {std::move(is_last), std::move(then), std::move(refused)};
  return out.id;
}

void load::exec_true(const std::string& sandbox, std::function<void()> then,
                     std::function<void()> refused) {
  api::exec what;
  what.sandbox = sandbox;
  what.argv = {"true"};
  auto id = std::make_shared<std::string>();
  *id = send(
      std::move(what),
      [](const api::reply_body& got) {
        return std::holds_alternative<api::exec_exit>(got);
      },
      [this, id, sandbox, then = std::move(then)](api::reply_body& got) {
        const auto& ended = std::get<api::exec_exit>(got);
        api::request ack;
        ack.id = *id;
        ack.body = api::stream_ack{api::channel::exit, 0};
        node_->send(ack);
        if (ended.code != 0)
          broken_ = "true in " + sandbox + " ended with "
                    + std::to_string(ended.code) + " (" + ended.reason + ")";
        then();
      },
      std::move(refused));
}

result<void> load::take(api::reply& got) {
  auto found = calls_.find(got.id);
  if (found == calls_.end())
    return {};
  if (auto* error = std::get_if<api::error_reply>(&got.body)) {
    auto refused = std::move(found->second.refused);
    if (!refused || !is_transient(error->why.code))
      return tl::unexpected<failure>(error->why);
    calls_.erase(found);
    refused();
    return {};
  }
  if (!found->second.is_last(got.body))
    return {};
  auto then = std::move(found->second.then);
  calls_.erase(found); // first: `then` may send
  then(got.body);
  if (!broken_.empty())
    return fail(ec::wrong_state, broken_);
  return {};
}

result<void> load::wait() {
  auto until = clock::now() + patience;
  while (!calls_.empty()) {
    bool gone = node_->lost();
    auto got = node_->receive();
    if (!got)
      return tl::unexpected<failure>(got.error());
    if (*got) {
      if (auto taken = take(**got); !taken)
        return taken;
      continue;
    }
    if (gone)
      return fail(ec::unavailable, "the node hung up", "look at its log");
    if (clock::now() > until)
      return fail(ec::timeout,
                  std::to_string(calls_.size())
                      + " requests have no answer after "
                      + format_duration(patience),
                  "look at the node's log");
    cli::wait_for(*node_, 200ms);
  }
  return {};
}

/// The disk is the default one: the pool has no other.
api::up smallest() {
  api::up out;
  out.spec.cpus = limits::cpus_min;
  out.spec.memory_mb = limits::memory_mb_min;
  return out;
}

result<void>
each(load& on, std::size_t n, std::size_t at_once,
     const std::function<void(std::size_t, std::function<void()>)>& start) {
  std::size_t next = 0;
  std::function<void()> one = [&] {
    if (next < n)
      start(next++, one);
  };
  for (std::size_t i = 0; i < std::min(n, at_once); ++i)
    one();
  return on.wait();
}

} // namespace caged::bench
