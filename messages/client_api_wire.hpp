#pragma once

#include <string>
#include <string_view>

#include "messages/client_api.hpp"

/// The only bridge between client_api.hpp and proto/caged.proto. Decoding
/// checks everything: what it returns needs no second look.
namespace caged::api {

/// A request as a client sends it: id, remaining and body.
std::string encode(const request& message);

/// A reply; the route stays with the transport.
std::string encode(const reply& message);

/// An empty envelope: a probe whether the other side is there.
std::string encode_probe();

/// What a client sent. route, caller and admin are the transport's to set;
/// digest is set. `id` receives the request id where one could be read.
/// Errors: malformed, bad_request (with the field and the limit), too_large,
/// denied (a client that names a caller).
result<request> decode_request(std::string_view bytes,
                               std::string* id = nullptr);

/// What a node sent; an empty optional is a probe. Error: malformed.
result<std::optional<reply>> decode_reply(std::string_view bytes);

} // namespace caged::api
