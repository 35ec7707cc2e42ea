#include "nodes/zap.hpp"

#include <vector>

#include "messages/curve_key.hpp"

namespace caged {

namespace {

/// RFC 27: version, request id, domain, address, identity, mechanism,
/// credentials (of CURVE: the key).
enum frame { version, request_id, for_domain, address, identity, mechanism };
constexpr std::size_t curve_frames = 7, credentials = 6;
constexpr const char* rfc_version = "1.0";

} // namespace

zap_door::zap_door(zmq::context_t& context, decide lets_in)
    : socket_{context, zmq::socket_type::rep}, lets_in_{std::move(lets_in)} {
  socket_.set(zmq::sockopt::linger, 0);
  socket_.bind("inproc://zeromq.zap.01");
}

void zap_door::answer() {
  while (true) {
    std::vector<std::string> asked;
    bool more = true;
    while (more) {
      zmq::message_t part;
      if (!socket_.recv(part, zmq::recv_flags::dontwait))
        break;
      asked.push_back(part.to_string());
      more = part.more();
    }
    if (asked.empty())
      return;
    std::string key;
    if (asked.size() == curve_frames && asked[version] == rfc_version
        && asked[for_domain] == domain && asked[mechanism] == "CURVE"
        && asked[credentials].size() == curve_key_bytes)
      key = z85_encode(asked[credentials]);
    const auto said = key.empty() ? verdict::no : lets_in_(key, asked[address]);
    const bool good = said == verdict::yes;
    const std::vector<std::string> reply = {
        rfc_version,
        asked.size() > request_id ? asked[request_id] : std::string{},
        good                     ? "200"
        : said == verdict::later ? "300"
                                 : "400",
        good ? "OK" : "the key is not authorised",
        good ? key : std::string{},
        std::string{}};
    for (std::size_t i = 0; i < reply.size(); ++i)
      socket_.send(zmq::buffer(reply[i]), i + 1 < reply.size()
                                              ? zmq::send_flags::sndmore
                                              : zmq::send_flags::none);
  }
}

} // namespace caged
