#include "nodes/node_key.hpp"

#include "messages/curve_pair.hpp"

namespace caged {

result<key_pair> open_node_key(const std::filesystem::path& data) {
  const auto path = data / "node.key";
  auto known = read_secret_key(path);
  if (known && !is_pair(*known))
    return fail(ec::malformed,
                path.string() + " holds two keys that are no pair",
                "restore it; clients know the node by its public key");
  if (known || known.error().code != ec::not_found)
    return known;
  auto made = make_key_pair({});
  if (!made)
    return made;
  if (auto done = write_key_pair(path, *made, if_there::refuse); !done)
    return tl::unexpected<failure>(done.error());
  return made;
}

} // namespace caged
