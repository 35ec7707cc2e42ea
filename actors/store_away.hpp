#pragma once

#include <optional>
#include <string>

#include "actors/node_context.hpp"

// What is said and refused while the store is away.
namespace caged {

/// What is to be said of an answer about the whole fleet while the store is
/// away; empty: nothing. Any thread.
inline std::string old_view(const node_context& context) {
  const auto why = context.store_away ? context.store_away() : std::nullopt;
  return why ? why->message + ": this is the fleet as " + context.node
                   + " last saw it"
             : std::string{};
}

/// Why nothing can be booked now: the store is away. Any thread.
inline std::optional<failure> no_booking(const node_context& context) {
  auto why = context.store_away ? context.store_away() : std::nullopt;
  if (why)
    *why = {ec::unavailable,
            "no sandbox can be made at the moment: " + why->message,
            "running ones go on; try again in a moment"};
  return why;
}

} // namespace caged
