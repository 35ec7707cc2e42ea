#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "messages/client_api.hpp"

/// The only bridge between client_api.hpp and proto/caged.proto. Decoding
/// checks everything: what it returns needs no second look.
namespace caged::api {

/// A request as a client sends it: id, remaining and body; one with a hop as a
/// node does: with the caller and its role, too.
std::string encode(const request& message);

/// A reply with its hop; the route stays with the transport.
std::string encode(const reply& message);

/// An envelope without a body: a probe whether the other side is there, or
/// knows this hop.
std::string encode_probe(std::uint64_t hop = 0);

/// What a client or a node sent; digest is set, route is the transport's. With
/// a hop, caller, admin and viewer are what the sender claims: whether it may
/// is the transport's to decide; without one they are its to set. `id` receives
/// the request id where one could be read. Errors: malformed, bad_request (with
/// the field and the limit), too_large, denied (a caller without a hop).
result<request> decode_request(std::string_view bytes,
                               std::string* id = nullptr);

/// What a transport says to a client whose request has a hop.
tl::unexpected<failure> behalf_denied();

/// What a node sent; an empty optional is a probe without a hop. Error:
/// malformed.
result<std::optional<reply>> decode_reply(std::string_view bytes);

} // namespace caged::api
