#include <cstdint>
#include <cstdlib>

#include "messages/client_api_wire.hpp"

/// Both directions of the client envelope; what decodes must encode again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  std::string_view bytes{reinterpret_cast<const char*>(data), size};
  if (auto request = caged::api::decode_request(bytes)) {
    auto again = caged::api::decode_request(caged::api::encode(*request));
    if (!again || again->body.index() != request->body.index()
        || again->digest != request->digest)
      std::abort();
  }
  if (auto reply = caged::api::decode_reply(bytes); reply && *reply)
    if (!caged::api::decode_reply(caged::api::encode(**reply)))
      std::abort();
  return 0;
}
