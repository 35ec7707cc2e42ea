#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "actors/journal.hpp"
#include "actors/lifecycle.hpp"
#include "messages/sandbox.hpp"

/// What the store keeps of a sandbox for who asks why when its node cannot say
/// it any more (docs/adr/0014). JSON, as in fleet_records.hpp. Errors:
/// malformed.
namespace caged {

/// Of a value, bytes: far below etcd's 1.5 MB, so that dozens fit one commit.
inline constexpr std::size_t history_bytes_most = 16 * 1024;

/// "history/ID": the owner's copy of its journal.
struct history_record {
  std::string sandbox;   ///< id; part of the key
  std::string node;      ///< id of the node that had it
  std::string node_name; ///< of that node; it may be gone when this is read
  std::string owner;
  std::string name; ///< may be empty
  std::string template_name;
  std::string runtime;
  capacity takes; ///< as it was asked for
  phase state = phase::pending;
  std::int64_t created_ms = 0;
  std::int64_t changed_ms = 0; ///< time of the newest cause
  std::vector<cause> causes;   ///< oldest first
  /// So many are left out, behind the first `cut_at` of them. 0: none.
  std::uint64_t left_out = 0;
  std::size_t cut_at = 0;
};
bool operator==(const history_record& a, const history_record& b);

/// "past/OWNER/NAME": the destroyed or forgotten sandbox that had this name
/// last.
struct past_name {
  std::string sandbox;
  std::int64_t created_ms = 0; ///< of the sandbox

  friend bool operator==(const past_name&, const past_name&) = default;
};

std::string history_key(std::string_view sandbox);
std::string past_key(std::string_view owner, std::string_view name);

/// All but its causes. Nothing of the environment or the init script is in it.
history_record head_of(const sandbox_record& from, const std::string& node,
                       const std::string& node_name);

/// Whether it is over: nothing will be added by its node.
bool is_over(const history_record& what) noexcept;

/// Leaves causes out of the middle until it is no longer than
/// history_bytes_most: the first and the newest stay.
void shorten(history_record& what);

/// As `why` shows it: where causes are left out, one says how many. Fit for a
/// terminal, whoever wrote the record.
std::vector<cause> told(const history_record& what);

std::string encode(const history_record& what);
std::string encode(const past_name& what);
/// A value longer than history_bytes_most is malformed, too.
result<history_record> decode_history(std::string_view sandbox,
                                      std::string_view value);
result<past_name> decode_past_name(std::string_view value);

} // namespace caged
