#include "nodes/open_store.hpp"

#include <fstream>
#include <utility>

#include "nodes/etcd/etcd_store.hpp"
#include "nodes/etcd/options.hpp"
#include "nodes/sqlite_store.hpp"

namespace caged {

namespace {

bool is_sqlite(const node_config& config) {
  return config.store == "sqlite";
}

result<etcd_options> options_of(const node_config& config) {
  auto out = parse_store_url(config.store);
  if (!out)
    return out;
  out->ca_file = config.store_ca;
  out->cert_file = config.store_cert;
  out->key_file = config.store_key;
  out->user = config.store_user;
  out->password_file = config.store_password_file;
  return out;
}

/// A file of PEM or of a password: small. No path: nothing.
result<std::string> read_small(const std::filesystem::path& file) {
  constexpr std::size_t most = 64 * 1024;
  if (file.empty())
    return std::string{};
  std::ifstream in{file, std::ios::binary};
  std::string out(most + 1, '\0');
  in.read(out.data(), static_cast<std::streamsize>(out.size()));
  out.resize(static_cast<std::size_t>(in.gcount()));
  if (out.empty() || out.size() > most)
    return fail(ec::io, file.string() + " cannot be read, or is no small file",
                "look at this node's --store-... settings");
  return out;
}

} // namespace

result<api::store_access> read_access(const node_config& config) {
  api::store_access out;
  out.url = config.store;
  out.user = config.store_user;
  for (const auto& [file, to] :
       {std::pair{&config.store_ca, &out.ca},
        std::pair{&config.store_cert, &out.certificate},
        std::pair{&config.store_key, &out.key},
        std::pair{&config.store_password_file, &out.password}}) {
    auto text = read_small(*file);
    if (!text)
      return tl::unexpected<failure>(text.error());
    *to = std::move(*text);
  }
  return out;
}

result<void> check_store(const node_config& config) {
  if (!is_sqlite(config)) {
    const auto options = options_of(config);
    return options ? check_options(*options)
                   : tl::unexpected<failure>(options.error());
  }
  if (config.store_ca.empty() && config.store_cert.empty()
      && config.store_key.empty() && config.store_user.empty()
      && config.store_password_file.empty())
    return {};
  return fail(ec::bad_request,
              "the store is sqlite, which has no user and no certificates",
              "name an etcd: --store etcds://HOST:2379/PREFIX");
}

result<std::unique_ptr<store>> open_store(const node_config& config) {
  if (is_sqlite(config))
    return open_sqlite_store(config.data_dir / "store.db");
  const auto options = options_of(config);
  if (!options)
    return tl::unexpected<failure>(options.error());
  return open_etcd_store(*options);
}

} // namespace caged
