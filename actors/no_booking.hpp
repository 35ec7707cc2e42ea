#pragma once

#include <optional>

#include "actors/node_context.hpp"

namespace caged {

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
