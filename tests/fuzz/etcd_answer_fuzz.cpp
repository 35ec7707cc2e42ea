#include <cstddef>
#include <cstdint>
#include <string_view>

#include "nodes/etcd/options.hpp"
#include "nodes/etcd/wire.hpp"

// What an etcd answers, and the URL that names it: refused or read, nothing
// else.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  namespace wire = caged::etcd::wire;
  (void)wire::read_range(text);
  (void)wire::read_txn(text);
  (void)wire::read_grant(text);
  (void)wire::read_keep_alive(text);
  (void)wire::read_token(text);
  (void)wire::read_watch(text);
  (void)wire::read_refusal(text);
  (void)caged::parse_store_url(text);
  return 0;
}
