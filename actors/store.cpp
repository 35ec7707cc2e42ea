#include "actors/store.hpp"

#include <algorithm>

namespace caged {

namespace {

result<void> erase_some(store& from, const record* begin, const record* end) {
  std::vector<compare> compares;
  std::vector<operation> operations;
  for (const auto* each = begin; each != end; ++each) {
    compares.push_back({each->key, each->revision});
    operations.push_back({operation::kind::erase, each->key, {}});
  }
  auto done = from.commit(compares, operations);
  if (done)
    return {};
  if (done.error().code != ec::conflict)
    return tl::unexpected<failure>(std::move(done.error()));
  if (end - begin == 1)
    return {};
  const auto* half = begin + (end - begin) / 2; // one of them: look which
  if (auto first = erase_some(from, begin, half); !first)
    return first;
  return erase_some(from, half, end);
}

} // namespace

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

result<void> erase_unchanged(store& from, const std::vector<record>& what) {
  for (std::size_t i = 0; i < what.size(); i += store::most_operations) {
    const auto end = std::min(what.size(), i + store::most_operations);
    if (auto done = erase_some(from, what.data() + i, what.data() + end); !done)
      return done;
  }
  return {};
}

} // namespace caged
