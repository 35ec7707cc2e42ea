#include "actors/key_table.hpp"

#include <algorithm>
#include <tuple>

#include <nlohmann/json.hpp>

#include "messages/curve_key.hpp"
#include "messages/text.hpp"

namespace caged {

using nlohmann::json;

namespace {

constexpr std::string_view key_prefix = "keys/";

void sort_by_age(std::vector<api::key_info>& keys) {
  std::sort(keys.begin(), keys.end(), [](const auto& a, const auto& b) {
    return std::tie(a.created_ms, a.key) < std::tie(b.created_ms, b.key);
  });
}

} // namespace

std::string key_owner(const std::string& name) {
  return "key:" + name;
}

std::string key_record_of(std::string_view key) {
  return std::string{key_prefix} + url_form(key);
}

std::string encode_key(const api::key_info& info) {
  return json{{"role", to_string(info.as)},
              {"name", info.name},
              {"created_ms", info.created_ms}}
      .dump();
}

result<api::key_info> decode_key(const record& from) {
  const auto wrong = fail(ec::malformed, "a record of the store is no key");
  if (!from.key.starts_with(key_prefix))
    return wrong;
  auto key = parse_public_key(from.key.substr(key_prefix.size()));
  const auto value = json::parse(from.value, nullptr, false);
  if (!key || !value.is_object() || !value.contains("role")
      || !value["role"].is_string() || !value.contains("name")
      || !value["name"].is_string() || !value.contains("created_ms")
      || !value["created_ms"].is_number_integer())
    return wrong;
  const auto as = api::role_from(value["role"].get<std::string>());
  auto name = value["name"].get<std::string>();
  if (!as || !is_valid_name(name) || key_record_of(*key) != from.key)
    return wrong;
  return api::key_info{std::move(*key), std::move(name), *as,
                       value["created_ms"].get<std::int64_t>()};
}

/// Only news counts: what is told and what is done here come in any order.
bool key_table::take(const record& what, bool erased, bool own) {
  auto key = parse_public_key(
      what.key.substr(std::min(what.key.size(), key_prefix.size())));
  if (!key || key_record_of(*key) != what.key)
    return erased;
  auto info = erased ? tl::unexpected<failure>(failure{}) : decode_key(what);
  std::lock_guard guard{mutex_};
  const auto at = all_.find(*key);
  const auto gone = erased_.find(*key);
  const bool stale =
      (at != all_.end() && what.revision <= at->second.revision)
      || (gone != erased_.end() && what.revision <= gone->second);
  // What is told is in order: when it has come so far, nothing older follows.
  if (!own && gone != erased_.end() && what.revision >= gone->second)
    erased_.erase(gone);
  if (stale)
    return true;
  if (info) {
    all_[*key] = {std::move(*info), what.revision};
    return true;
  }
  // Erased, or written over with what cannot be read: nobody is let in.
  if (at != all_.end())
    all_.erase(at);
  if (own)
    erased_[*key] = what.revision;
  return erased;
}

void key_table::tell() const {
  if (changed_)
    changed_();
}

bool key_table::apply(const record& what, bool erased) {
  const bool good = take(what, erased, false);
  tell();
  return good;
}

void key_table::loaded() {
  {
    std::lock_guard guard{mutex_};
    loaded_ = true;
  }
  tell();
}

bool key_table::ready() const {
  std::lock_guard guard{mutex_};
  return loaded_;
}

result<api::key_reply> key_table::authorize(store& to,
                                            const api::key_authorize& what,
                                            std::int64_t now_ms) {
  api::key_info info{what.key, what.name, what.as, now_ms};
  bool created = true;
  {
    std::lock_guard guard{mutex_};
    const auto known = all_.find(what.key);
    created = known == all_.end();
    if (!created)
      info.created_ms = known->second.info.created_ms;
    const bool taken =
        std::any_of(all_.begin(), all_.end(), [&](const auto& item) {
          return item.first != what.key && item.second.info.name == what.name;
        });
    if (taken && !what.shared)
      return fail(ec::conflict,
                  "the name " + caged::quoted(what.name)
                      + " is another key's, and sandboxes belong to names",
                  "give --name with another one, or with this one when both "
                  "keys are the same person's");
    if (created && all_.size() >= limits::keys_most)
      return fail(ec::too_large,
                  "there are " + std::to_string(all_.size())
                      + " keys, which is the most",
                  "revoke some: caged key list, caged key revoke NAME");
  }
  const record now{key_record_of(info.key), encode_key(info), 0};
  auto done = to.commit({}, {{operation::kind::put, now.key, now.value}});
  if (!done)
    return tl::unexpected<failure>(done.error());
  // Its own watch may come later than the answer.
  take({now.key, now.value, *done}, false, true);
  tell();
  return api::key_reply{std::move(info), created};
}

result<std::vector<api::key_info>>
key_table::revoke(store& from, const std::string& key_or_name) {
  auto keys = of(key_or_name);
  std::vector<operation> erase;
  erase.reserve(keys.size());
  for (const auto& each : keys)
    erase.push_back({operation::kind::erase, key_record_of(each.key), {}});
  if (erase.size() > store::most_operations)
    return fail(ec::too_large,
                "the name has more keys than can be revoked at once",
                "revoke them by their keys");
  if (erase.empty())
    return keys;
  auto done = from.commit({}, erase);
  if (!done)
    return tl::unexpected<failure>(done.error());
  for (const auto& each : erase)
    take({each.key, {}, *done}, true, true);
  tell();
  return keys;
}

std::optional<api::key_info> key_table::find(std::string_view key) const {
  std::lock_guard guard{mutex_};
  const auto at = all_.find(key);
  return at == all_.end() ? std::nullopt : std::optional{at->second.info};
}

std::vector<api::key_info> key_table::of(const std::string& key_or_name) const {
  std::vector<api::key_info> out;
  std::lock_guard guard{mutex_};
  for (const auto& [key, each] : all_)
    if (key == key_or_name || each.info.name == key_or_name)
      out.push_back(each.info);
  sort_by_age(out);
  return out;
}

std::vector<api::key_info> key_table::list() const {
  std::vector<api::key_info> out;
  {
    std::lock_guard guard{mutex_};
    for (const auto& [_, each] : all_)
      out.push_back(each.info);
  }
  sort_by_age(out);
  return out;
}

} // namespace caged
