#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "actors/directory.hpp"
#include "actors/fleet_records.hpp"
#include "actors/history_record.hpp"
#include "messages/text.hpp"

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

template <class Record>
void check(const result<Record>& read,
           result<Record> (*again)(std::string_view)) {
  if (!read)
    return;
  const auto second = again(encode(*read));
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
  (void)view.gone("uid:0", what.value);
  view.apply(what, true);
  if (!view.nodes().empty() || !view.placements().empty()
      || !view.gone_requests().empty())
    std::abort(); // what was erased is not there
  check<node_record>(decode_node("n", what.value), decode_node, "n");
  constexpr std::string_view id = "cage-00000000";
  check<placement_record>(decode_placement(id, what.value), decode_placement,
                          id);
  check<history_record>(decode_history(id, what.value), decode_history, id);
  check(decode_reserved(what.value), decode_reserved);
  check(decode_offers(what.value), decode_offers);
  check(decode_gone_request(what.value), decode_gone_request);
  check(decode_past_name(what.value), decode_past_name);
  if (auto read = decode_history(id, what.value)) {
    // With a long history behind it, as when its node is removed.
    const auto had = read->causes.size() + read->left_out;
    constexpr std::size_t more = 40;
    for (std::size_t i = 0; i < more; ++i)
      read->causes.push_back(
          {1, phase::running, phase::running, "a", std::string(500, 'x')});
    shorten(*read);
    if (encode(*read).size() > history_bytes_most
        || read->causes.size() + read->left_out != had + more)
      std::abort();
    for (const auto& each : told(*read))
      if (each.text != escape_text(each.text))
        std::abort();
  }
  return 0;
}
