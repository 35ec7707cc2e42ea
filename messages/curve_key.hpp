#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "messages/error.hpp"

/// CURVE keys as text. A key has 32 bytes; people and ZeroMQ write it in Z85
/// (ZeroMQ RFC 32), 40 characters among which are $, & and /.
namespace caged {

inline constexpr std::size_t curve_key_bytes = 32;

/// Both halves, Z85.
struct key_pair {
  std::string name;                   ///< who bears it; may be empty
  std::string public_key, secret_key; ///< no secret: only the public half
};

/// Of 32 bytes, 40 characters.
std::string z85_encode(std::string_view bytes);

/// The 32 bytes of a key; nothing when the text is none.
std::optional<std::string> z85_decode(std::string_view text);

/// The key with nothing but letters, digits, - and _ (base64url, 43
/// characters), for paths and shells. `key` is Z85.
std::string url_form(std::string_view key);

/// A public key as Z85, from Z85 or its URL form. Error: bad_request.
result<std::string> parse_public_key(std::string_view text);

} // namespace caged
