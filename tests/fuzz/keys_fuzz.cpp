#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "actors/key_table.hpp"
#include "messages/curve_key.hpp"
#include "messages/key_file.hpp"

// Key files, which people send each other, and records of the store: refused,
// or read so that writing them gives the same again.
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
  return 0;
}
