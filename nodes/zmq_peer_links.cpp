#include "nodes/zmq_peer_links.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.hpp>

#include "messages/client_api_wire.hpp"
#include "nodes/curve_dealer.hpp"

namespace caged {

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

/// Below what makes a node "lost" (its lease, 3 s): whoever asks over a link
/// that was cut is told within that time, too.
constexpr int heartbeat_ms = 1000, silence_ms = 3000;
/// For a handshake over a network, and before a node is tried again that was
/// not there.
constexpr auto handshake_time = 2000ms;
constexpr auto retry_after = 500ms;
constexpr int send_high_water = 64; // messages; the rest waits in our queue
/// What may wait for one node. Streams are bounded by their credit; a node
/// that lets so much pile up does not read.
constexpr std::size_t queue_most = std::size_t{256} * 1024 * 1024;
constexpr std::int64_t frame_most = std::int64_t{64} * 1024 * 1024;
/// Messages of one link handled before the others have their turn.
constexpr int burst = 64;

/// One connection; the thread's own.
class link {
public:
  enum class state { opening, ready, gone };

  /// Throws zmq::error_t: it cannot be dialled.
  link(zmq::context_t& context, const peer_address& to, const key_pair& own)
      : to_{to},
        dealer_{context,
                {to.endpoint, to.public_key, heartbeat_ms, silence_ms,
                 frame_most, to.node},
                own},
        until_{steady_clock::now() + handshake_time} {
    dealer_.socket().set(zmq::sockopt::sndhwm, send_high_water);
  }

  const peer_address& to() const { return to_; }
  state is() const { return state_; }
  bool was_ready() const { return dealer_.ready(); }
  std::uint64_t last_hop() const { return last_hop_; }
  const failure& why() const { return why_; }
  void* socket() { return dealer_.socket().handle(); }
  void* news() { return dealer_.news(); }
  bool has_more_to_send() const {
    return state_ == state::ready && !queue_.empty();
  }
  std::optional<steady_clock::time_point> deadline() const {
    return state_ == state::opening ? std::optional{until_} : std::nullopt;
  }

  void add(const api::request& what) {
    last_hop_ = std::max(last_hop_, what.hop);
    queue_.push_back(api::encode(what));
    bytes_ += queue_.back().size();
    if (bytes_ > queue_most)
      end("reads nothing any more");
  }

  void flush() {
    while (has_more_to_send()) {
      if (!dealer_.socket().send(zmq::buffer(queue_.front()),
                                 zmq::send_flags::dontwait))
        return;
      bytes_ -= queue_.front().size();
      queue_.pop_front();
    }
  }

  /// Whether there may be more.
  bool receive(const peer_links::on_reply& reply) {
    for (int i = 0; i < burst; ++i) {
      zmq::message_t bytes;
      if (!dealer_.socket().recv(bytes, zmq::recv_flags::dontwait))
        return false;
      auto got = api::decode_reply(
          {static_cast<const char*>(bytes.data()), bytes.size()});
      if (!got) {
        end("sent what is no answer");
        return false;
      }
      if (!*got)
        continue; // its probe
      if (const auto* error = std::get_if<api::error_reply>(&(*got)->body);
          error && (*got)->id == api::connection_id) {
        end("refuses this node: " + error->why.message);
        return false;
      }
      reply(to_.node, std::move(**got));
    }
    return true;
  }

  void read_news() {
    dealer_.read_news();
    if (dealer_.ready() && state_ == state::opening)
      state_ = state::ready;
    if (dealer_.refused())
      end("does not know this node's key");
    else if (dealer_.lost() && state_ == state::ready)
      end("hung up, or has said nothing for "
          + std::to_string(silence_ms / 1000) + " s");
    else if (dealer_.lost()
             || (state_ == state::opening && steady_clock::now() >= until_))
      end("does not answer at " + to_.endpoint);
  }

  void end(const std::string& what) {
    if (state_ == state::gone)
      return;
    state_ = state::gone;
    why_ = {ec::unavailable, what, {}};
  }

private:
  const peer_address to_;
  curve_dealer dealer_;
  state state_ = state::opening;
  const steady_clock::time_point until_;
  std::deque<std::string> queue_;
  std::size_t bytes_ = 0;
  std::uint64_t last_hop_ = 0;
  failure why_;
};

class dealers : public zmq_peer_links {
public:
  dealers(key_pair own, on_reply reply, on_lost lost)
      : own_{std::move(own)},
        reply_{std::move(reply)},
        lost_{std::move(lost)} {}
  ~dealers() override {
    dealers::stop();
    if (wake_ >= 0)
      ::close(wake_);
  }

  result<void> start() {
    wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_ < 0)
      return fail_errno(ec::io, "an eventfd cannot be made", errno);
    thread_ = std::thread{[this] { loop(); }};
    return {};
  }

  void send(const peer_address& to, api::request what) override {
    add({to, std::move(what)});
  }

  void stop() override {
    if (!thread_.joinable())
      return;
    stopping_ = true;
    wake();
    thread_.join();
  }

private:
  struct order {
    peer_address to;
    api::request what;
  };
  /// A node that was not there a moment ago.
  struct absence {
    steady_clock::time_point until;
    failure why;
  };

  void add(order what) {
    bool first = false;
    {
      const std::lock_guard guard{mutex_};
      first = inbox_.empty();
      inbox_.push_back(std::move(what));
    }
    if (first)
      wake();
  }

  void wake() {
    std::uint64_t one = 1;
    // The counter can only be full when a wake-up is pending anyway.
    [[maybe_unused]] auto written = ::write(wake_, &one, sizeof one);
  }

  void poll() {
    std::vector<zmq::pollitem_t> items = {{nullptr, wake_, ZMQ_POLLIN, 0}};
    auto wait = 1000ms; // nothing is due but what the sockets say
    const auto now = steady_clock::now();
    for (auto& [_, each] : links_) {
      const auto want = static_cast<short>(
          ZMQ_POLLIN | (each->has_more_to_send() ? ZMQ_POLLOUT : 0));
      items.push_back({each->socket(), 0, want, 0});
      items.push_back({each->news(), 0, ZMQ_POLLIN, 0});
      if (const auto at = each->deadline())
        wait = std::clamp(
            std::chrono::duration_cast<std::chrono::milliseconds>(*at - now)
                + 1ms,
            0ms, wait);
    }
    if (busy_)
      wait = 0ms;
    try {
      zmq::poll(items.data(), items.size(), wait);
    } catch (const zmq::error_t& e) {
      if (e.num() != EINTR)
        throw;
    }
  }

  void take_orders() {
    std::uint64_t count = 0;
    // Empty is fine: the poll was woken by a socket.
    [[maybe_unused]] auto got = ::read(wake_, &count, sizeof count);
    std::vector<order> orders;
    {
      const std::lock_guard guard{mutex_};
      orders.swap(inbox_);
    }
    for (const auto& each : orders)
      pass_on(each);
  }

  void pass_on(const order& what) {
    const auto& node = what.to.node;
    auto at = links_.find(node);
    if (at != links_.end() && at->second->is() == link::state::gone) {
      lose(at);
      at = links_.end();
    }
    if (at == links_.end()) {
      if (const auto away = absent_.find(node); away != absent_.end()) {
        if (steady_clock::now() < away->second.until)
          return lost_(node, what.what.hop, away->second.why);
        absent_.erase(away);
      }
      try {
        at = links_
                 .emplace(node, std::make_unique<link>(context_, what.to, own_))
                 .first;
      } catch (const zmq::error_t& e) {
        return lost_(
            node, what.what.hop,
            {ec::unavailable,
             "cannot be dialled at " + what.to.endpoint + ": " + e.what(),
             {}});
      }
    }
    at->second->add(what.what);
  }

  using place = std::map<std::string, std::unique_ptr<link>>::iterator;
  place lose(place at) {
    const auto gone = std::move(at->second);
    const auto after = links_.erase(at);
    const auto& node = gone->to().node;
    // One that was there may be back already: the next request finds out.
    if (!gone->was_ready())
      absent_[node] = {steady_clock::now() + retry_after, gone->why()};
    lost_(node, gone->last_hop(), gone->why());
    return after;
  }

  void loop() {
    while (!stopping_) {
      poll();
      take_orders();
      busy_ = false;
      for (auto at = links_.begin(); at != links_.end();) {
        auto& each = *at->second;
        each.read_news();
        busy_ = each.receive(reply_) || busy_;
        each.flush();
        if (each.is() != link::state::gone) {
          ++at;
          continue;
        }
        while (each.receive(reply_)) // what came before the end
          ;
        at = lose(at);
      }
    }
    links_.clear();
  }

  const key_pair own_;
  const on_reply reply_;
  const on_lost lost_;
  zmq::context_t context_{1};
  int wake_ = -1;
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  std::mutex mutex_; // of the next
  std::vector<order> inbox_;

  // The thread's own.
  std::map<std::string, std::unique_ptr<link>> links_; ///< by node
  std::map<std::string, absence> absent_;
  bool busy_ = false;
};

} // namespace

result<std::unique_ptr<zmq_peer_links>>
zmq_peer_links::open(key_pair own, on_reply reply, on_lost lost) {
  auto made = std::make_unique<dealers>(std::move(own), std::move(reply),
                                        std::move(lost));
  if (auto done = made->start(); !done)
    return tl::unexpected<failure>(done.error());
  return std::unique_ptr<zmq_peer_links>{std::move(made)};
}

} // namespace caged
