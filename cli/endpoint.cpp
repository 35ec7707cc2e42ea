#include "cli/endpoint.hpp"

#include <iostream>
#include <thread>

#include "caged_version.hpp"
#include "messages/text.hpp"

namespace caged::cli {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

result<void> call(const node_address& to, api::request_body body,
                  std::chrono::milliseconds deadline,
                  const std::function<verdict(api::reply_body&)>& on_reply,
                  std::string id) {
  constexpr auto reopen_interval = 100ms;
  constexpr auto tick = 200ms;
  constexpr auto quiet_time = 1s; // longer is worth a line
  auto until = steady_clock::now() + deadline;
  api::request request;
  request.id = id.empty() ? make_uuid() : std::move(id);
  request.body = std::move(body);
  bool reached = false; // a node that was never there is told at once
  bool said_waiting = false;
  bool lost_before = false;
  auto away_since = steady_clock::now();
  while (true) {
    auto opened = connection::open(to);
    if (!opened) {
      if (!reached || is_final(opened.error())
          || steady_clock::now() + reopen_interval >= until)
        return tl::unexpected<failure>(opened.error());
      if (!said_waiting && steady_clock::now() - away_since > quiet_time) {
        said_waiting = true;
        std::cerr << "caged: the node is away; waiting for it\n" << std::flush;
      }
      std::this_thread::sleep_for(reopen_interval);
      continue;
    }
    auto& node = **opened;
    api::request greeting;
    greeting.id = make_uuid();
    greeting.body = api::hello{"caged/" CAGED_VERSION};
    node.send(greeting);
    request.remaining = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - steady_clock::now());
    node.send(request);
    auto hello_until = steady_clock::now() + hello_time;
    bool greeted = false;
    reached = true;
    while (true) {
      // Asked before the queue is read: what a node said before it went away
      // counts (the answer to `node shutdown`).
      bool gone = node.lost();
      auto got = node.receive();
      if (!got)
        return tl::unexpected<failure>(got.error());
      if (*got) {
        greeted = true; // whatever it says, it speaks
        auto& reply = **got;
        if (reply.id != request.id)
          continue;
        if (auto* error = std::get_if<api::error_reply>(&reply.body)) {
          // A daemon that has just come back may not reach its agents yet.
          if (error->why.code == ec::unavailable && lost_before
              && steady_clock::now() + reopen_interval < until) {
            std::this_thread::sleep_for(reopen_interval);
            break;
          }
          return tl::unexpected<failure>(error->why);
        }
        if (on_reply(reply.body) == verdict::done)
          return {};
        continue;
      }
      if (gone) {
        away_since = steady_clock::now();
        lost_before = true;
        break;
      }
      auto now = steady_clock::now();
      if (!greeted && now >= hello_until)
        return fail(ec::unavailable,
                    "the node at " + to.text() + " does not say hello",
                    "look at its log: journalctl -u caged-node");
      if (now >= until)
        return fail(ec::timeout,
                    "the node did not answer within "
                        + format_duration(deadline),
                    "what was asked may still be done; look with caged list");
      wait_for(node, tick);
    }
  }
}

} // namespace caged::cli
