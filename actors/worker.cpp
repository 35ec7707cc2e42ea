#include "actors/worker.hpp"

#include <exception>

namespace caged {

worker_actor::behavior_type worker(worker_actor::pointer self) {
  return {
      [](job& what) -> caf::result<bool> {
        try {
          what.run();
        } catch (const std::exception& e) {
          return make_error(ec::internal,
                            std::string{"a blocking call threw: "} + e.what());
        }
        return true;
      },
      [self](atom::stop) { self->quit(); },
  };
}

namespace {

using pool_pointer = worker_actor::stateful_pointer<worker_pool_state>;

void hand_out(pool_pointer self) {
  auto& st = self->state;
  while (!st.idle.empty() && !st.queue.empty()) {
    auto to = std::move(st.idle.back());
    st.idle.pop_back();
    auto next = std::move(st.queue.front());
    st.queue.pop_front();
    auto answer = next.answer;
    // No timeout here: the worker is free only when the call really returned.
    // The one who asked has a timeout of its own.
    self->request(to, caf::infinite, std::move(next.what))
        .then(
            [self, to, answer](bool) mutable {
              answer.deliver(true);
              self->state.idle.push_back(to);
              hand_out(self);
            },
            [self, to, answer](caf::error& why) mutable {
              answer.deliver(std::move(why));
              self->state.idle.push_back(to);
              hand_out(self);
            });
  }
}

} // namespace

worker_actor::behavior_type worker_pool(pool_pointer self,
                                        std::vector<worker_actor> workers) {
  self->state.all = workers;
  self->state.idle = std::move(workers);
  return {
      [self](job& what) -> caf::result<bool> {
        auto answer = self->make_response_promise();
        self->state.queue.push_back({std::move(what), answer});
        hand_out(self);
        return caf::delegated<bool>{};
      },
      [self](atom::stop) {
        for (auto& to : self->state.all)
          self->send(to, atom::stop::value);
        self->quit();
      },
  };
}

} // namespace caged
