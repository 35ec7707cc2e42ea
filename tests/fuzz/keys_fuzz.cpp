#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "actors/join_table.hpp"
#include "actors/key_table.hpp"
#include "messages/curve_key.hpp"
#include "messages/join_token.hpp"
#include "messages/key_file.hpp"

// Key files and join tokens, which people send each other, and records of the
// store: refused, or read so that writing them gives the same again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string text{reinterpret_cast<const char*>(data), size};
  if (const auto keys = caged::decode_key_file(text)) {
    const auto again = caged::decode_key_file(caged::encode_key_file(*keys));
    if (!again || again->public_key != keys->public_key
        || again->secret_key != keys->secret_key || again->name != keys->name)
      std::abort();
  }
  if (const auto key = caged::parse_public_key(text))
    if (caged::parse_public_key(caged::url_form(*key)).value_or("") != *key)
      std::abort();
  const std::string known(40, '1');
  (void)caged::decode_key({caged::key_record_of(known), text, 1});
  (void)caged::decode_key({text, "{}", 1});
  if (const auto token = caged::decode_join_token(text))
    if (!caged::decode_join_token(caged::encode(*token)))
      std::abort();
  const auto joins = caged::join_record_of(known);
  if (const auto join = caged::decode_join({joins, text, 1})) {
    const auto again =
        caged::decode_join({joins, caged::encode_join(*join), 1});
    if (!again || again->used.has_value() != join->used.has_value())
      std::abort();
  }
  return 0;
}
