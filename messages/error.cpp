#include "messages/error.hpp"

#include <array>
#include <cstring>

namespace caged {

namespace {

// Index = value of the enum.
constexpr std::array<std::string_view, 22> names = {"ok",
                                                    "bad_request",
                                                    "not_found",
                                                    "ambiguous",
                                                    "conflict",
                                                    "denied",
                                                    "wrong_state",
                                                    "no_capacity",
                                                    "unsupported",
                                                    "unavailable",
                                                    "timeout",
                                                    "agent_lost",
                                                    "agent_restarted",
                                                    "superseded",
                                                    "too_large",
                                                    "malformed",
                                                    "resource",
                                                    "host_setup",
                                                    "shutting_down",
                                                    "io",
                                                    "internal",
                                                    "lost"};

} // namespace

std::string_view to_string(ec code) noexcept {
  auto index = static_cast<std::size_t>(code);
  return index < names.size() ? names[index] : to_string(ec::internal);
}

ec ec_from_string(std::string_view name) noexcept {
  for (std::size_t i = 1; i < names.size(); ++i)
    if (names[i] == name)
      return static_cast<ec>(i);
  return ec::internal;
}

bool is_transient(ec code) noexcept {
  switch (code) {
  case ec::no_capacity:
  case ec::unavailable:
  case ec::timeout:
  case ec::agent_lost:
  case ec::shutting_down:
  case ec::lost:
    return true;
  default:
    return false;
  }
}

tl::unexpected<failure> fail_errno(ec code, std::string message, int error) {
  message += ": ";
  message += ::strerrordesc_np(error) ? ::strerrordesc_np(error) : "error";
  if (const char* name = ::strerrorname_np(error)) {
    message += " (";
    message += name;
    message += ")";
  }
  return fail(code, std::move(message));
}

} // namespace caged
