#pragma once

#include <array>
#include <string>

#include <zmq.h>

#include "messages/key_file.hpp"

/// What of keys needs ZeroMQ; a header, because messages/ is without it.
namespace caged {

namespace detail {
using z85_text = std::array<char, 41>; ///< zmq_curve_keypair(3): with its NUL
} // namespace detail

/// A new pair. Error: unsupported (a ZeroMQ without CURVE).
inline result<key_pair> make_key_pair(std::string name) {
  detail::z85_text open{}, secret{};
  if (zmq_curve_keypair(open.data(), secret.data()) != 0)
    return fail(ec::unsupported, "this ZeroMQ cannot make CURVE keys",
                "install a libzmq that is built with libsodium");
  return key_pair{std::move(name), open.data(), secret.data()};
}

/// Whether the two halves belong together.
inline bool is_pair(const key_pair& keys) {
  detail::z85_text open{};
  return zmq_curve_public(open.data(), keys.secret_key.c_str()) == 0
         && keys.public_key == open.data();
}

} // namespace caged
