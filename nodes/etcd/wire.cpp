#include "nodes/etcd/wire.hpp"

#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

#include "messages/text.hpp"

namespace caged::etcd::wire {

namespace {

using nlohmann::json;

/// What a reader throws to its own function's end.
struct not_etcd {
  const char* what;
};

template <class Read>
auto reading(std::string_view text, Read read)
    -> result<decltype(read(std::declval<const json&>()))> {
  const auto doc = json::parse(text, nullptr, false);
  try {
    if (!doc.is_object())
      throw not_etcd{"no JSON object"};
    return read(doc);
  } catch (const not_etcd& e) {
    return fail(ec::malformed,
                std::string{"etcd's answer is not understood: "} + e.what,
                "etcd 3.4 or newer is needed");
  }
}

const json& object_in(const json& in, const char* name) {
  static const json empty = json::object();
  const auto at = in.find(name);
  if (at == in.end())
    return empty;
  if (!at->is_object())
    throw not_etcd{name};
  return *at;
}

const json& array_in(const json& in, const char* name) {
  static const json empty = json::array();
  const auto at = in.find(name);
  if (at == in.end())
    return empty;
  if (!at->is_array())
    throw not_etcd{name};
  return *at;
}

std::string text_in(const json& in, const char* name) {
  const auto at = in.find(name);
  if (at == in.end())
    return {};
  if (!at->is_string())
    throw not_etcd{name};
  return at->get<std::string>();
}

std::string bytes_in(const json& in, const char* name) {
  auto decoded = base64_decode(text_in(in, name));
  if (!decoded)
    throw not_etcd{name};
  return std::move(*decoded);
}

bool flag_in(const json& in, const char* name) {
  const auto at = in.find(name);
  if (at == in.end())
    return false;
  if (!at->is_boolean())
    throw not_etcd{name};
  return at->get<bool>();
}

/// A string of digits; small ones may be numbers.
std::int64_t number_in(const json& in, const char* name) {
  const auto at = in.find(name);
  if (at == in.end())
    return 0;
  if (at->is_number_integer())
    return at->get<std::int64_t>();
  const auto text = text_in(in, name);
  std::int64_t out = 0;
  const auto* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, out);
  if (read.ec != std::errc{} || read.ptr != end)
    throw not_etcd{name};
  return out;
}

std::int64_t revision_in(const json& answer) {
  const auto out = number_in(object_in(answer, "header"), "revision");
  if (out <= 0)
    throw not_etcd{"revision"};
  return out;
}

record record_in(const json& kv) {
  if (!kv.is_object())
    throw not_etcd{"kv"};
  record out{bytes_in(kv, "key"), bytes_in(kv, "value"),
             number_in(kv, "mod_revision")};
  if (out.key.empty() || out.revision <= 0)
    throw not_etcd{"kv"};
  return out;
}

ranged range_in(const json& answer) {
  ranged out;
  for (const auto& kv : array_in(answer, "kvs"))
    out.records.push_back(record_in(kv));
  out.more = flag_in(answer, "more");
  return out;
}

json range_json(const range& what) {
  json out = {{"key", base64_encode(what.key)}};
  if (!what.end.empty())
    out["range_end"] = base64_encode(what.end);
  if (what.limit != 0)
    out["limit"] = std::to_string(what.limit);
  if (what.revision != 0)
    out["revision"] = std::to_string(what.revision);
  if (what.keys_only)
    out["keys_only"] = true;
  return out;
}

json operation_json(const operation& what) {
  const auto key = base64_encode(what.key);
  if (what.what == operation::kind::erase)
    return {{"request_delete_range", {{"key", key}}}};
  json put = {{"key", key}, {"value", base64_encode(what.value)}};
  if (what.lease != 0)
    put["lease"] = std::to_string(what.lease);
  return {{"request_put", std::move(put)}};
}

} // namespace

std::string range_end(std::string prefix) {
  while (!prefix.empty()) {
    const auto last = static_cast<unsigned char>(prefix.back());
    if (last != 0xFFU) {
      prefix.back() = static_cast<char>(last + 1U);
      return prefix;
    }
    prefix.pop_back();
  }
  return std::string(1, '\0'); // to the end of all keys
}

std::string write(const range& what) {
  return range_json(what).dump();
}

result<ranged> read_range(std::string_view text) {
  return reading(text, [](const json& doc) {
    auto out = range_in(doc);
    out.revision = revision_in(doc);
    return out;
  });
}

std::string write(const txn& what) {
  json out = {{"compare", json::array()}, {"success", json::array()}};
  for (const auto& one : what.compares)
    out["compare"].push_back({{"key", base64_encode(one.key)},
                              {"target", "MOD"},
                              {"result", "EQUAL"},
                              {"mod_revision", std::to_string(one.revision)}});
  for (const auto& one : what.operations)
    out["success"].push_back(operation_json(one));
  if (!what.look.empty()) {
    json look;
    look["request_range"] = range_json({what.look, {}});
    out["failure"] = json::array();
    out["failure"].push_back(std::move(look));
  }
  return out.dump();
}

result<decided> read_txn(std::string_view text) {
  return reading(text, [](const json& doc) {
    decided out;
    out.succeeded = flag_in(doc, "succeeded");
    out.revision = revision_in(doc);
    if (out.succeeded)
      return out;
    for (const auto& one : array_in(doc, "responses")) {
      if (!one.is_object())
        throw not_etcd{"responses"};
      auto found = range_in(object_in(one, "response_range"));
      if (!found.records.empty())
        out.looked = std::move(found.records.front());
    }
    return out;
  });
}

std::string write_grant(std::chrono::seconds ttl) {
  return json{{"TTL", std::to_string(ttl.count())}}.dump();
}

std::string write_lease(std::int64_t lease) {
  return json{{"ID", std::to_string(lease)}}.dump();
}

result<store_lease> read_grant(std::string_view text) {
  return reading(text, [](const json& doc) {
    const store_lease out{number_in(doc, "ID"),
                          std::chrono::seconds{number_in(doc, "TTL")}};
    if (out.id == 0 || out.ttl.count() <= 0)
      throw not_etcd{"TTL"};
    return out;
  });
}

result<std::chrono::seconds> read_keep_alive(std::string_view text) {
  return reading(text, [](const json& doc) {
    if (!doc.contains("result"))
      throw not_etcd{"result"};
    return std::chrono::seconds{number_in(object_in(doc, "result"), "TTL")};
  });
}

std::string write_authenticate(const std::string& user,
                               const std::string& password) {
  // A password may be any bytes; etcd takes UTF-8.
  return json{{"name", user}, {"password", password}}.dump(
      -1, ' ', false, json::error_handler_t::replace);
}

result<std::string> read_token(std::string_view text) {
  return reading(text, [](const json& doc) {
    auto out = text_in(doc, "token");
    // It becomes a header.
    if (out.empty() || out.size() > 8192
        || out.find_first_of(std::string_view{"\r\n\0", 3}) != out.npos)
      throw not_etcd{"token"};
    return out;
  });
}

std::string write_watch(const std::string& prefix, std::int64_t from) {
  return json{{"create_request",
               {{"key", base64_encode(prefix)},
                {"range_end", base64_encode(range_end(prefix))},
                {"start_revision", std::to_string(from)}}}}
      .dump();
}

result<watched> read_watch(std::string_view line) {
  return reading(line, [](const json& doc) {
    watched out;
    if (doc.contains("error")) {
      out.cancelled = true;
      const auto& error = doc["error"];
      if (error.is_object())
        out.why = text_in(error, "message");
      return out;
    }
    const auto& answer = object_in(doc, "result");
    for (const auto& one : array_in(answer, "events")) {
      if (!one.is_object())
        throw not_etcd{"events"};
      event next;
      next.erased = text_in(one, "type") == "DELETE";
      next.what = record_in(object_in(one, "kv"));
      out.events.push_back(std::move(next));
    }
    out.compacted = number_in(answer, "compact_revision");
    out.cancelled = flag_in(answer, "canceled") || out.compacted != 0;
    out.why = text_in(answer, "cancel_reason");
    return out;
  });
}

refusal read_refusal(std::string_view text) {
  refusal out;
  const auto doc = json::parse(text, nullptr, false);
  if (doc.is_object()) {
    const auto code = doc.find("code");
    if (code != doc.end() && code->is_number_integer())
      out.code = code->get<int>();
    const auto said = doc.find("message");
    if (said != doc.end() && said->is_string())
      out.text = escape_text(said->get<std::string>(), 256);
  } else {
    out.text = escape_text(text.substr(0, text.find('\n')), 256);
  }
  if (out.text.empty())
    out.text = "no reason given";
  return out;
}

} // namespace caged::etcd::wire
