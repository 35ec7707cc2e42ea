#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "messages/error.hpp"

/// How records of the store are read: for the few files that decode them.
namespace caged::record_json {

using nlohmann::json;

/// More than any node has; keeps sums far from their types' ends.
inline constexpr std::uint64_t most = 1'000'000'000'000'000;

/// What a reader throws to its own function's end.
struct unreadable {
  const char* member;
};

/// `read` of the JSON object. Error: malformed.
template <class Read>
auto reading(const char* what, std::string_view value, Read read)
    -> result<decltype(read(std::declval<const json&>()))> {
  const auto doc = json::parse(value, nullptr, false);
  try {
    if (!doc.is_object())
      throw unreadable{"JSON object"};
    return read(doc);
  } catch (const unreadable& why) {
    return fail(ec::malformed, std::string{"a record of the store is no "}
                                   + what + ": it has no good " + why.member);
  }
}

inline std::string text_in(const json& from, const char* name) {
  const auto at = from.find(name);
  if (at == from.end() || !at->is_string())
    throw unreadable{name};
  return at->get<std::string>();
}

inline std::uint64_t number_in(const json& from, const char* name) {
  const auto at = from.find(name);
  if (at == from.end() || !at->is_number_unsigned()
      || at->get<std::uint64_t>() > most)
    throw unreadable{name};
  return at->get<std::uint64_t>();
}

/// Milliseconds since 1970.
inline std::int64_t time_in(const json& from, const char* name) {
  return static_cast<std::int64_t>(number_in(from, name));
}

/// Any number of 64 bits.
inline std::uint64_t digest_in(const json& from, const char* name) {
  const auto at = from.find(name);
  if (at == from.end() || !at->is_number_unsigned())
    throw unreadable{name};
  return at->get<std::uint64_t>();
}

inline std::string dump(const json& what) {
  return what.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace caged::record_json
