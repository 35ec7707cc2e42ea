#include "actors/join_table.hpp"

#include <chrono>
#include <utility>

#include <nlohmann/json.hpp>

#include "messages/join_token.hpp"
#include "messages/text.hpp"

namespace caged {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view join_prefix = "joins/";
const char* const cluster_key = "cluster/id";
/// How long a token is remembered behind its end or its use.
constexpr std::chrono::seconds kept = 24h;
constexpr std::chrono::milliseconds again_within = 10min;
/// Lost to others in a row: nobody but bearers of the token write there.
constexpr int most_tries = 16;

const char* const remedy = "make another: caged node token";

bool has_text(const json& in, const char* name) {
  return in.contains(name) && in[name].is_string();
}

bool has_time(const json& in, const char* name) {
  return in.contains(name) && in[name].is_number_integer();
}

std::optional<join_use> read_use(const json& from) {
  if (!from.is_object() || !has_text(from, "node") || !has_text(from, "name")
      || !has_text(from, "key") || !has_time(from, "at_ms"))
    return std::nullopt;
  return join_use{
      from["node"].get<std::string>(), from["name"].get<std::string>(),
      from["key"].get<std::string>(), from["at_ms"].get<std::int64_t>()};
}

/// Writes the record in place of the one with this revision (0: none); etcd
/// erases it by itself, a day behind `end_ms`.
result<std::int64_t> write(store& to, const join_record& what,
                           std::int64_t revision, std::int64_t now_ms,
                           std::int64_t end_ms) {
  const auto left = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::milliseconds(end_ms - now_ms));
  const auto lease = to.grant(left + kept);
  if (!lease)
    return tl::unexpected<failure>(lease.error());
  const auto key = join_record_of(what.key);
  auto done =
      to.commit({{key, revision}},
                {{operation::kind::put, key, encode_join(what), lease->id}});
  if (!done && done.error().code == ec::conflict)
    (void)to.revoke(lease->id); // if it stays, it is of no use for a day
  return done;
}

} // namespace

std::string join_record_of(std::string_view key) {
  return std::string{join_prefix} + url_form(key);
}

std::string encode_join(const join_record& from) {
  json out{{"by", from.by},
           {"created_ms", from.created_ms},
           {"expires_ms", from.expires_ms}};
  if (from.used)
    out["used"] = {{"node", from.used->node},
                   {"name", from.used->name},
                   {"key", from.used->key},
                   {"at_ms", from.used->at_ms}};
  return out.dump();
}

result<join_record> decode_join(const record& from) {
  const auto wrong =
      fail(ec::malformed, "a record of the store is no join token's");
  if (!from.key.starts_with(join_prefix))
    return wrong;
  auto key = parse_public_key(from.key.substr(join_prefix.size()));
  const auto value = json::parse(from.value, nullptr, false);
  if (!key || join_record_of(*key) != from.key || !value.is_object()
      || !has_text(value, "by") || !has_time(value, "created_ms")
      || !has_time(value, "expires_ms"))
    return wrong;
  join_record out;
  out.key = std::move(*key);
  out.by = value["by"].get<std::string>();
  out.created_ms = value["created_ms"].get<std::int64_t>();
  out.expires_ms = value["expires_ms"].get<std::int64_t>();
  if (!value.contains("used"))
    return out;
  out.used = read_use(value["used"]);
  if (!out.used) // a use that cannot be read is one
    return wrong;
  return out;
}

bool join_table::apply(const record& what, bool erased) {
  const auto at = std::min(what.key.size(), join_prefix.size());
  const auto key = parse_public_key(what.key.substr(at));
  if (!key || join_record_of(*key) != what.key)
    return erased;
  const bool good = !erased && decode_join(what);
  const std::lock_guard guard{mutex_};
  if (good)
    keys_.insert(*key);
  else
    keys_.erase(*key);
  return good || erased;
}

void join_table::loaded() {
  const std::lock_guard guard{mutex_};
  loaded_ = true;
}

bool join_table::ready() const {
  const std::lock_guard guard{mutex_};
  return loaded_;
}

bool join_table::knows(std::string_view key) const {
  const std::lock_guard guard{mutex_};
  return keys_.find(key) != keys_.end();
}

result<cluster_identity> open_cluster(store& in) {
  for (int i = 0; i < most_tries; ++i) {
    const auto there = in.get(cluster_key);
    if (!there)
      return tl::unexpected<failure>(there.error());
    if (*there) {
      if (!is_uuid((*there)->value))
        return fail(ec::malformed,
                    std::string{"the record "} + cluster_key
                        + " of the store is no id of a cluster",
                    "is the prefix in --store another program's? choose "
                    "another");
      return cluster_identity{(*there)->value, false};
    }
    auto id = make_uuid();
    const auto done = in.commit({{cluster_key, 0}},
                                {{operation::kind::put, cluster_key, id}});
    if (done)
      return cluster_identity{std::move(id), true};
    // Another was faster; or the answer was lost, and it is there or not.
    if (done.error().code != ec::conflict)
      return tl::unexpected<failure>(done.error());
  }
  return fail(ec::unavailable, "the cluster's id cannot be read", "try again");
}

result<record> offer_join(store& in, const join_record& what) {
  const auto done = write(in, what, 0, what.created_ms, what.expires_ms);
  if (!done)
    return tl::unexpected<failure>(done.error());
  return record{join_record_of(what.key), encode_join(what), *done};
}

result<bool> take_join(store& in, const std::string& key, const join_use& by) {
  for (int i = 0; i < most_tries; ++i) {
    const auto there = in.get(join_record_of(key));
    if (!there)
      return tl::unexpected<failure>(there.error());
    if (!*there)
      return fail(ec::denied, "this token is not known any more", remedy);
    auto token = decode_join(**there);
    if (!token)
      return tl::unexpected<failure>(token.error());
    if (const auto& used = token->used) {
      if (used->key == by.key && by.at_ms - used->at_ms < again_within.count())
        return true;
      return fail(ec::denied,
                  "this token was used, by " + escape_text(used->name) + " at "
                      + utc_text(used->at_ms),
                  remedy);
    }
    if (by.at_ms >= token->expires_ms)
      return fail(ec::denied,
                  "this token expired at " + utc_text(token->expires_ms),
                  remedy);
    token->used = by;
    const auto done = write(in, *token, (*there)->revision, by.at_ms, by.at_ms);
    if (done)
      return false;
    if (done.error().code != ec::conflict)
      return tl::unexpected<failure>(done.error());
  }
  return fail(ec::unavailable, "the token's record changes all the time",
              "try again");
}

} // namespace caged
