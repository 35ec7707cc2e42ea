#pragma once

#include <utility>
#include <variant>
#include <vector>

#include "messages/client_api.hpp"

namespace caged::test {

/// A request of every verb, in the order of api::request_body, with nothing
/// filled in.
inline std::vector<api::request_body> every_request() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return std::vector<api::request_body>{
        api::request_body{std::in_place_index<I>}...};
  }
  (std::make_index_sequence<std::variant_size_v<api::request_body>>{});
}

} // namespace caged::test
