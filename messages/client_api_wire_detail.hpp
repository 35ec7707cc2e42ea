#pragma once

#include <optional>

#include "messages/client_api.hpp"
#include "messages/proto/caged.pb.h"

/// What the three files of the bridge between client_api.hpp and caged.proto
/// share: client_api_wire.cpp (envelope), _requests.cpp and _replies.cpp.
namespace caged::api::wire {

template <class... Ts>
struct overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
overloaded(Ts...) -> overloaded<Ts...>;

// -- to the wire
void fill(v1::SandboxSpec* to, const sandbox_spec& from);
void fill(v1::Cause* to, const cause& from);
void fill(v1::SandboxInfo* to, const sandbox_info& from);
void fill(v1::Envelope& to, const stream_data& from);
void fill(v1::Envelope& to, const stream_ack& from);
void fill(v1::Envelope& to, const stream_credit& from);
void fill(v1::Envelope& to, const stream_eof& from);
void fill_request(v1::Envelope& to, const request_body& body);
void fill_reply(v1::Envelope& to, const reply_body& body);

// -- from the wire
phase read_phase(int value);
sandbox_spec read_spec(const v1::SandboxSpec& from);
cause read_cause(const v1::Cause& from);
sandbox_info read_info(const v1::SandboxInfo& from);
std::optional<channel> read_channel(int value);
std::optional<role> read_role(int value);
tl::unexpected<failure> too_long(const char* what, std::size_t is,
                                 std::size_t most);
result<request_body> read_request_body(v1::Envelope& from);
result<reply_body> read_reply_body(v1::Envelope& from);

template <class Map>
std::map<std::string, std::string> read_map(const Map& from) {
  return {from.begin(), from.end()};
}

/// The four stream messages, both directions. Body: request or reply.
template <class Body>
result<Body> read_stream(v1::Envelope& from) {
  std::optional<channel> on;
  switch (from.body_case()) {
  case v1::Envelope::kData: {
    on = read_channel(from.data().channel());
    if (!on)
      break;
    if (from.data().bytes().size() > limits::frame_max)
      return too_long("a frame", from.data().bytes().size(), limits::frame_max);
    stream_data out{*on, from.data().offset(), {}};
    out.bytes = std::move(*from.mutable_data()->mutable_bytes());
    return Body{std::move(out)};
  }
  case v1::Envelope::kAck:
    if ((on = read_channel(from.ack().channel())))
      return Body{stream_ack{*on, from.ack().offset()}};
    break;
  case v1::Envelope::kCredit:
    if ((on = read_channel(from.credit().channel())))
      return Body{stream_credit{*on, from.credit().limit()}};
    break;
  case v1::Envelope::kEof:
    if ((on = read_channel(from.eof().channel())))
      return Body{stream_eof{*on, from.eof().offset()}};
    break;
  default:
    return fail(ec::malformed, "the message has no body that is known here",
                "client and node may be of different versions");
  }
  return fail(ec::malformed, "a stream message names no channel");
}

} // namespace caged::api::wire
