#include "nodes/etcd/resolver.hpp"

#include <array>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

namespace caged::etcd {

namespace {

struct answer {
  std::vector<std::string> addresses;
  std::string error;
};

bool is_numeric(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> ignored{};
  return ::inet_pton(AF_INET, host.c_str(), ignored.data()) == 1
         || ::inet_pton(AF_INET6, host.c_str(), ignored.data()) == 1;
}

answer look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  answer out;
  if (const int why = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
      why != 0) {
    out.error = ::gai_strerror(why);
    return out;
  }
  for (const auto* one = found; one != nullptr; one = one->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(one->ai_addr, one->ai_addrlen, text.data(), text.size(),
                      nullptr, 0, NI_NUMERICHOST)
        == 0)
      out.addresses.emplace_back(text.data());
  }
  ::freeaddrinfo(found);
  if (out.addresses.empty())
    out.error = "it has no address";
  return out;
}

} // namespace

struct resolver::shared {
  struct entry {
    bool busy = false;
    unsigned round = 0; ///< look-ups that have ended
    std::vector<std::string> last;
    std::string error;
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, entry> all;
};

resolver::resolver() : shared_{std::make_shared<shared>()} {}
resolver::~resolver() = default;

result<std::vector<std::string>>
resolver::find(const std::string& host,
               std::chrono::steady_clock::time_point until) {
  if (is_numeric(host))
    return std::vector<std::string>{host};
  std::unique_lock guard{shared_->mutex};
  auto& mine = shared_->all[host]; // references into a map stay
  const auto round = mine.round;
  if (!mine.busy) {
    mine.busy = true;
    std::thread{[host, state = shared_] {
      auto got = look_up(host);
      std::lock_guard busy{state->mutex};
      auto& to = state->all[host];
      if (!got.addresses.empty())
        to.last = std::move(got.addresses);
      to.error = std::move(got.error);
      to.busy = false;
      ++to.round;
      state->changed.notify_all();
    }}.detach();
  }
  shared_->changed.wait_until(guard, until,
                              [&] { return mine.round != round; });
  if (!mine.last.empty())
    return mine.last;
  return fail(ec::unavailable,
              "the host " + host + " was not found: "
                  + (mine.round == round ? "no answer in time" : mine.error));
}

} // namespace caged::etcd
