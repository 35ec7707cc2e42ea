#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "messages/curve_key.hpp"
#include "messages/error.hpp"
#include "messages/whole_file.hpp"

/// Files of CURVE keys: "name: alice" and "public-key: Z85" a line each, and
/// "secret-key: Z85" in the one that is its owner's alone.
namespace caged {

/// Error: malformed.
result<key_pair> decode_key_file(std::string_view text);
std::string encode_key_file(const key_pair& keys);

/// A file with a secret key. Errors: not_found, denied (another mode than 0600,
/// somebody else's), malformed, io.
result<key_pair> read_secret_key(const std::filesystem::path& path);

/// A file of a public key: one of ours, or the key alone on a line. Errors:
/// not_found, bad_request (it is a secret one, it holds no key), io.
result<key_pair> read_public_key(const std::filesystem::path& path);

/// The secret file at `path`, 0600, and the public one, `path` and ".pub",
/// 0644. Errors: conflict (there is one already), io.
result<void> write_key_pair(const std::filesystem::path& path,
                            const key_pair& keys, if_there then);

} // namespace caged
