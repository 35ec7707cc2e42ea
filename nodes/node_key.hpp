#pragma once

#include <filesystem>

#include "messages/key_file.hpp"

namespace caged {

/// The node's own keys, DATA/node.key and DATA/node.key.pub: made once, kept as
/// long as the data directory. Errors: denied (another mode than 0600),
/// malformed, io.
result<key_pair> open_node_key(const std::filesystem::path& data);

} // namespace caged
