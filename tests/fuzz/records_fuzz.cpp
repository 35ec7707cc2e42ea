#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "actors/directory.hpp"
#include "actors/fleet_records.hpp"

using namespace caged;

namespace {

template <class Record>
void check(const result<Record>& read,
           result<Record> (*again)(std::string_view, std::string_view),
           std::string_view id) {
  if (!read)
    return;
  const auto second = again(id, encode(*read));
  if (!second || !(*second == *read))
    std::abort();
}

} // namespace

/// What other nodes write to the store: a key, a line feed, a value. Whatever
/// it is, a view is fed with it; a record that decodes is the same after it was
/// encoded again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const auto end = text.find('\n');
  if (end == text.npos)
    return 0;
  const record what{std::string{text.substr(0, end)},
                    std::string{text.substr(end + 1)}, 1};
  directory view;
  view.apply(what, false);
  (void)view.nodes();
  (void)view.placements();
  (void)view.placed();
  (void)view.find(what.value, "uid:0", true);
  view.apply(what, true);
  if (!view.nodes().empty() || !view.placements().empty())
    std::abort(); // what was erased is not there
  check<node_record>(decode_node("n", what.value), decode_node, "n");
  constexpr std::string_view id = "cage-00000000";
  check<placement_record>(decode_placement(id, what.value), decode_placement,
                          id);
  if (const auto read = decode_offers(what.value)) {
    const auto second = decode_offers(encode(*read));
    if (!second || *second != *read)
      std::abort();
  }
  if (const auto read = decode_reserved(what.value)) {
    const auto second = decode_reserved(encode(*read));
    if (!second || !(*second == *read))
      std::abort();
  }
  return 0;
}
