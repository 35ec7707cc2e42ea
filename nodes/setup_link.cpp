#include <chrono>
#include <optional>
#include <utility>

#include <zmq.hpp>

#include "messages/client_api_wire.hpp"
#include "messages/text.hpp"
#include "nodes/curve_dealer.hpp"
#include "nodes/setup.hpp"

// One request over CURVE, with the key of a join token.
namespace caged {

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto handshake_time = 5s;
/// The node asks its store, which may take five seconds when it is about to be
/// away.
constexpr auto answer_time = 15s;
constexpr int heartbeat_ms = 1000, silence_ms = 5000;

const char* const again =
    "run the same again within ten minutes: the token still is good for this "
    "host";

class link {
public:
  result<void> open(const std::string& endpoint, const join_token& token) {
    constexpr std::int64_t frame_most = std::int64_t{1024} * 1024;
    try {
      dealer_.emplace(context_,
                      curve_dealer::options{endpoint, token.server_key,
                                            heartbeat_ms, silence_ms,
                                            frame_most, "join"},
                      token.key);
    } catch (const zmq::error_t& e) {
      return fail(ec::bad_request,
                  caged::quoted(endpoint) + " cannot be dialled: " + e.what(),
                  "name the node that made the token: tcp://HOST:7400");
    }
    const auto until = steady_clock::now() + handshake_time;
    while (!dealer_->ready() && !dealer_->lost() && steady_clock::now() < until)
      wait(until);
    return dealer_->ready() ? result<void>{} : not_let_in(endpoint);
  }

  result<api::reply> ask(const api::request& what) {
    dealer_->socket().send(zmq::buffer(api::encode(what)),
                           zmq::send_flags::dontwait);
    const auto until = steady_clock::now() + answer_time;
    for (;;) {
      zmq::message_t bytes;
      while (dealer_->socket().recv(bytes, zmq::recv_flags::dontwait)) {
        auto got = api::decode_reply(
            {static_cast<const char*>(bytes.data()), bytes.size()});
        if (!got)
          return tl::unexpected<failure>(got.error());
        if (*got) // else the node's probe
          return std::move(**got);
      }
      if (dealer_->lost())
        return fail(ec::unavailable, "the node is gone, and its answer lost",
                    again);
      if (steady_clock::now() >= until)
        return fail(ec::unavailable,
                    "the node has not answered for "
                        + std::to_string(answer_time.count()) + " s",
                    again);
      wait(until);
    }
  }

private:
  void wait(steady_clock::time_point until) {
    zmq::pollitem_t items[] = {{dealer_->socket().handle(), 0, ZMQ_POLLIN, 0},
                               {dealer_->news(), 0, ZMQ_POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - steady_clock::now());
    zmq_poll(items, 2, std::max<long>(left.count(), 0) + 1);
    dealer_->read_news();
  }

  tl::unexpected<failure> not_let_in(const std::string& endpoint) const {
    if (dealer_->refused())
      return fail(ec::denied,
                  "the node at " + endpoint
                      + " does not know this token: it is over for more than a "
                        "day, or of another cluster",
                  "make another on that node: caged node token");
    if (!dealer_->connected())
      return fail(ec::unavailable, "no node answers at " + endpoint,
                  "is caged-node running there, with --listen? is there a "
                  "firewall?");
    if (dealer_->lost())
      return fail(ec::denied,
                  "the node at " + endpoint
                      + " hung up on our greeting: it is not the one that made "
                        "the token, or has not read its store yet",
                  "name the node that made the token, or make another on this "
                  "one: caged node token");
    return fail(ec::unavailable,
                "whoever listens at " + endpoint + " does not answer",
                "is it a caged-node? look at its log: journalctl -u "
                "caged-node");
  }

  zmq::context_t context_{1};
  std::optional<curve_dealer> dealer_; ///< closed before its context
};

} // namespace

result<api::join_reply> ask_to_join(const std::string& endpoint,
                                    const join_token& token, api::join what) {
  link to;
  if (auto open = to.open(endpoint, token); !open)
    return tl::unexpected<failure>(open.error());
  api::request request;
  request.id = make_uuid();
  request.remaining = answer_time;
  request.body = std::move(what);
  auto got = to.ask(request);
  if (!got)
    return tl::unexpected<failure>(got.error());
  if (auto* error = std::get_if<api::error_reply>(&got->body))
    return tl::unexpected<failure>(std::move(error->why));
  auto* reply = std::get_if<api::join_reply>(&got->body);
  if (!reply)
    return fail(ec::malformed, "the node's answer is none to a join",
                "are both of the same version?");
  return std::move(*reply);
}

} // namespace caged
