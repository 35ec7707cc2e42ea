#include "actors/token_table.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "messages/sandbox.hpp"
#include "messages/text.hpp"

namespace caged {

using nlohmann::json;

namespace {

constexpr const char* key_prefix = "tokens/";
constexpr std::string_view secret_prefix = "caged-";
constexpr std::string_view id_prefix = "tok-";
constexpr std::size_t id_size = 8;
/// Of [a-z0-9]: 206 bits.
constexpr std::size_t secret_size = 40;

/// Takes as long for any text of one length.
bool same(const std::string& a, const std::string& b) {
  if (a.size() != b.size())
    return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |=
        static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  return difference == 0;
}

} // namespace

std::optional<std::string> token_id_of(std::string_view secret) {
  if (secret.size() != secret_prefix.size() + id_size + 1 + secret_size
      || secret.substr(0, secret_prefix.size()) != secret_prefix
      || secret[secret_prefix.size() + id_size] != '-')
    return std::nullopt;
  auto id = std::string{id_prefix}
            + std::string{secret.substr(secret_prefix.size(), id_size)};
  return is_valid_name(id) ? std::optional{id} : std::nullopt;
}

std::string encode_token(const api::token_info& info,
                         const std::string& digest) {
  return json{{"id", info.id},
              {"owner", info.owner},
              {"sandbox", info.sandbox},
              {"template", info.template_name},
              {"scope", to_string(info.scope)},
              {"created_ms", info.created_ms},
              {"expires_ms", info.expires_ms},
              {"sha256", digest}}
      .dump();
}

result<std::pair<api::token_info, std::string>>
decode_token(std::string_view value) {
  const auto from = json::parse(value, nullptr, false);
  const auto text = [&](const char* name) -> std::optional<std::string> {
    if (!from.is_object() || !from.contains(name) || !from[name].is_string())
      return std::nullopt;
    return from[name].get<std::string>();
  };
  const auto number = [&](const char* name) -> std::optional<std::int64_t> {
    if (!from.is_object() || !from.contains(name)
        || !from[name].is_number_integer())
      return std::nullopt;
    return from[name].get<std::int64_t>();
  };
  const auto id = text("id"), owner = text("owner"), sandbox = text("sandbox"),
             template_name = text("template"), scope = text("scope"),
             digest = text("sha256");
  const auto created = number("created_ms"), expires = number("expires_ms");
  const auto known = scope ? api::token_scope_from(*scope) : std::nullopt;
  if (!id || !is_valid_name(*id) || !owner || !sandbox || !template_name
      || !known || !digest || !created || !expires)
    return fail(ec::malformed, "a record of the store is no token");
  return std::pair{api::token_info{*id, *owner, *sandbox, *template_name,
                                   *known, *created, *expires},
                   *digest};
}

result<std::size_t> token_table::load(store& from) {
  auto records = from.list(key_prefix);
  if (!records)
    return tl::unexpected<failure>(records.error());
  std::size_t unreadable = 0;
  std::lock_guard guard{mutex_};
  all_.clear();
  for (const auto& each : *records) {
    auto token = decode_token(each.value);
    if (token && key_prefix + token->first.id == each.key)
      all_[token->first.id] = {token->first, token->second};
    else
      ++unreadable;
  }
  return unreadable;
}

std::optional<std::string> token_table::apply(const record& what, bool erased) {
  const std::string_view key = what.key;
  if (!key.starts_with(key_prefix))
    return std::nullopt;
  std::string id{key.substr(std::string_view{key_prefix}.size())};
  auto token = decode_token(erased ? std::string_view{} : what.value);
  const std::lock_guard guard{mutex_};
  if (token && token->first.id == id) {
    all_[id] = {std::move(token->first), std::move(token->second)};
    return std::nullopt;
  }
  return all_.erase(id) != 0 ? std::optional{std::move(id)} : std::nullopt;
}

result<void> token_table::drop_expired(store& from) {
  std::vector<std::string> erase;
  const auto now = wall_clock_ms();
  {
    std::lock_guard guard{mutex_};
    for (const auto& [id, each] : all_)
      if (each.info.expires_ms <= now)
        erase.push_back(key_prefix + id);
  }
  if (erase.empty())
    return {};
  if (auto done = erase_all(from, erase); !done)
    return done;
  std::lock_guard guard{mutex_};
  std::erase_if(all_, [&](const auto& item) {
    return item.second.info.expires_ms <= now;
  });
  return {};
}

result<api::token_reply> token_table::create(store& to, api::token_info info) {
  if (auto done = drop_expired(to); !done)
    return tl::unexpected<failure>(done.error());
  std::string short_id;
  {
    std::lock_guard guard{mutex_};
    if (all_.size() >= limits::tokens_most)
      return fail(ec::too_large,
                  "there are " + std::to_string(all_.size())
                      + " tokens, which is the most",
                  "revoke some: caged token list, caged token revoke ID");
    do
      short_id = random_name(id_size);
    while (all_.count(std::string{id_prefix} + short_id) != 0);
  }
  info.id = std::string{id_prefix} + short_id;
  const auto secret =
      std::string{secret_prefix} + short_id + '-' + random_name(secret_size);
  const auto digest = digest_(secret);
  const auto key = key_prefix + info.id;
  auto done = to.commit(
      {{key, 0}}, {{operation::kind::put, key, encode_token(info, digest)}});
  if (!done)
    return tl::unexpected<failure>(done.error());
  std::lock_guard guard{mutex_};
  all_[info.id] = {info, digest};
  return api::token_reply{std::move(info), secret, {}};
}

result<bool> token_table::revoke(store& from, const std::string& id) {
  {
    std::lock_guard guard{mutex_};
    if (all_.count(id) == 0)
      return false;
  }
  auto done = from.commit({}, {{operation::kind::erase, key_prefix + id, {}}});
  if (!done)
    return tl::unexpected<failure>(done.error());
  std::lock_guard guard{mutex_};
  all_.erase(id);
  return true;
}

std::optional<api::token_info> token_table::find(std::string_view secret,
                                                 std::int64_t now_ms) const {
  const auto id = token_id_of(secret);
  if (!id)
    return std::nullopt;
  const auto digest = digest_(secret);
  std::lock_guard guard{mutex_};
  const auto at = all_.find(*id);
  if (at == all_.end() || !same(at->second.digest, digest)
      || at->second.info.expires_ms <= now_ms)
    return std::nullopt;
  return at->second.info;
}

std::optional<api::token_info> token_table::get(const std::string& id,
                                                std::int64_t now_ms) const {
  std::lock_guard guard{mutex_};
  const auto at = all_.find(id);
  if (at == all_.end() || at->second.info.expires_ms <= now_ms)
    return std::nullopt;
  return at->second.info;
}

std::vector<api::token_info> token_table::list(std::int64_t now_ms) const {
  std::vector<api::token_info> out;
  {
    std::lock_guard guard{mutex_};
    for (const auto& [_, each] : all_)
      if (each.info.expires_ms > now_ms)
        out.push_back(each.info);
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    return std::tie(a.created_ms, a.id) < std::tie(b.created_ms, b.id);
  });
  return out;
}

} // namespace caged
