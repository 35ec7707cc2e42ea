#include "actors/store.hpp"

namespace caged {

result<void> erase_all(store& from, const std::vector<std::string>& keys) {
  std::vector<operation> some;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    some.push_back({operation::kind::erase, keys[i], {}});
    if (some.size() < store::most_operations && i + 1 < keys.size())
      continue;
    if (auto done = from.commit({}, some); !done)
      return tl::unexpected<failure>(done.error());
    some.clear();
  }
  return {};
}

} // namespace caged
