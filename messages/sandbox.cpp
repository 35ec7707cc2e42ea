#include "messages/sandbox.hpp"

#include <algorithm>
#include <array>

#include "messages/text.hpp"

namespace caged {

namespace {

// Index = value of the enum; 0 is no phase.
constexpr std::array<std::string_view, 9> phase_names = {
    "",         "pending",   "running", "unhealthy", "paused",
    "stopping", "destroyed", "failed",  "lost"};

constexpr std::array<std::string_view, 4> network_names = {"", "none", "full",
                                                           "allowlist"};

template <class Enum, std::size_t N>
std::optional<Enum> by_name(const std::array<std::string_view, N>& names,
                            std::string_view name) noexcept {
  for (std::size_t i = 1; i < N; ++i)
    if (names[i] == name)
      return static_cast<Enum>(i);
  return std::nullopt;
}

bool is_lower_or_digit(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

result<void> in_range(const char* field, std::uint64_t value, std::uint64_t min,
                      std::uint64_t max, const char* unit) {
  if (value >= min && value <= max)
    return {};
  return fail(ec::bad_request, std::string{field} + " is "
                                   + std::to_string(value) + unit
                                   + "; it must be " + std::to_string(min)
                                   + " to " + std::to_string(max) + unit);
}

result<void> check_env(const std::map<std::string, std::string>& env) {
  if (env.size() > limits::env_max)
    return fail(ec::bad_request, "env has " + std::to_string(env.size())
                                     + " variables; the limit is "
                                     + std::to_string(limits::env_max));
  std::size_t bytes = 0;
  for (const auto& [key, value] : env) {
    // The value is a secret: only the name may be shown.
    if (key.empty() || key.find('=') != std::string::npos
        || key.find('\0') != std::string::npos)
      return fail(ec::bad_request,
                  "env variable " + quoted(key)
                      + " has no valid name; it must not be empty nor hold = "
                        "or NUL");
    if (value.find('\0') != std::string::npos)
      return fail(ec::bad_request, "env variable " + quoted(key)
                                       + " has a NUL byte in its value");
    bytes += key.size() + value.size() + 2;
  }
  if (bytes > limits::env_bytes_max)
    return fail(ec::bad_request, "env has " + std::to_string(bytes)
                                     + " bytes; the limit is "
                                     + std::to_string(limits::env_bytes_max));
  return {};
}

/// As Prometheus and Kubernetes users expect: letters, digits, and ._-/ inside.
bool is_label_key(std::string_view key) noexcept {
  auto letter = [](char c) {
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
  };
  if (key.empty() || key.size() > limits::label_key_max || !letter(key.front()))
    return false;
  return std::all_of(key.begin(), key.end(), [&](char c) {
    return letter(c) || c == '.' || c == '_' || c == '-' || c == '/';
  });
}

result<void> check_lifetime(const char* what, std::chrono::milliseconds value) {
  if (value.count() == 0
      || (value >= limits::lifetime_min && value <= limits::lifetime_max))
    return {};
  return fail(ec::bad_request,
              std::string{"the "} + what + " of " + format_duration(value)
                  + " must be 0 (none) or "
                  + format_duration(limits::lifetime_min) + " to "
                  + format_duration(limits::lifetime_max));
}

} // namespace

result<void> check_labels(const std::map<std::string, std::string>& labels) {
  if (labels.size() > limits::labels_max)
    return fail(ec::bad_request, std::to_string(labels.size())
                                     + " labels; the limit is "
                                     + std::to_string(limits::labels_max));
  for (const auto& [key, value] : labels) {
    if (!is_label_key(key))
      return fail(ec::bad_request,
                  "label " + quoted(key)
                      + " has no valid name; it must be 1 to "
                      + std::to_string(limits::label_key_max)
                      + " letters, digits or ._-/ and begin with a letter or "
                        "digit");
    if (value.size() > limits::label_value_max)
      return fail(ec::bad_request,
                  "label " + quoted(key) + " has a value of "
                      + std::to_string(value.size()) + " bytes; the limit is "
                      + std::to_string(limits::label_value_max));
    if (escape_text(value, value.size() * 4 + 4) != value)
      return fail(ec::bad_request, "label " + quoted(key)
                                       + " has control characters or invalid "
                                         "UTF-8 in its value");
  }
  return {};
}

std::string_view to_string(phase value) noexcept {
  auto index = static_cast<std::size_t>(value);
  return index > 0 && index < phase_names.size() ? phase_names[index] : "?";
}

std::optional<phase> phase_from_string(std::string_view name) noexcept {
  return by_name<phase>(phase_names, name);
}

std::string_view to_string(network_mode value) noexcept {
  auto index = static_cast<std::size_t>(value);
  return index > 0 && index < network_names.size() ? network_names[index] : "?";
}

std::optional<network_mode>
network_mode_from_string(std::string_view name) noexcept {
  return by_name<network_mode>(network_names, name);
}

bool is_valid_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= limits::name_max
         && is_lower_or_digit(name.front())
         && std::all_of(name.begin(), name.end(), [](char c) {
              return is_lower_or_digit(c) || c == '-';
            });
}

bool is_valid_id(std::string_view id) noexcept {
  constexpr std::string_view prefix = "cage-";
  return id.size() == prefix.size() + 8 && id.substr(0, prefix.size()) == prefix
         && std::all_of(id.begin() + prefix.size(), id.end(),
                        is_lower_or_digit);
}

result<void> validate(const sandbox_spec& spec) {
  if (!spec.name.empty() && !is_valid_name(spec.name))
    return fail(ec::bad_request,
                "name " + quoted(spec.name)
                    + " is not valid; it must be 1 to 63 of a-z, 0-9 and -, "
                      "and not begin with -");
  if (is_valid_id(spec.name))
    return fail(ec::bad_request, "name " + quoted(spec.name)
                                     + " looks like a sandbox id; choose one "
                                       "that does not");
  if (!is_valid_name(spec.template_name))
    return fail(
        ec::bad_request,
        "template " + quoted(spec.template_name)
            + " is no valid name; it must be 1 to 63 of a-z, 0-9 and -");
  if (spec.runtime != "oci" && spec.runtime != "fake")
    return fail(ec::bad_request, "runtime " + quoted(spec.runtime)
                                     + " is unknown; it must be oci or fake");
  if (auto ok =
          in_range("cpus", spec.cpus, limits::cpus_min, limits::cpus_max, "");
      !ok)
    return ok;
  if (auto ok = in_range("memory", spec.memory_mb, limits::memory_mb_min,
                         limits::memory_mb_max, " MB");
      !ok)
    return ok;
  if (auto ok = in_range("disk", spec.disk_gb, limits::disk_gb_min,
                         limits::disk_gb_max, " GB");
      !ok)
    return ok;
  // Below 16 a shell pipeline in it already fails in ways nobody understands;
  // above 32768 lies the kernel's default pid_max.
  if (auto ok = in_range("pids", spec.pids, 16, 32768, ""); !ok)
    return ok;
  if (to_string(spec.network) == "?")
    return fail(ec::bad_request,
                "network mode is unknown; it must be none, full or allowlist");
  if (spec.workdir.empty() || spec.workdir.front() != '/'
      || spec.workdir.size() > 4095
      || spec.workdir.find('\0') != std::string::npos)
    return fail(ec::bad_request, "workdir " + quoted(spec.workdir)
                                     + " must be an absolute path of at most "
                                       "4095 bytes");
  if (spec.init_script.size() > limits::init_script_max)
    return fail(ec::bad_request, "the init script has "
                                     + std::to_string(spec.init_script.size())
                                     + " bytes; the limit is "
                                     + std::to_string(limits::init_script_max));
  if (auto ok = check_lifetime("idle timeout", spec.idle_timeout); !ok)
    return ok;
  if (auto ok = check_lifetime("time to live", spec.ttl); !ok)
    return ok;
  if (auto ok = check_env(spec.env); !ok)
    return ok;
  return check_labels(spec.labels);
}

result<std::string> resolve_reference(
    std::string_view reference,
    const std::vector<std::pair<std::string, std::string>>& known) {
  if (reference.empty())
    return fail(ec::bad_request, "the sandbox's name is empty",
                "caged list shows them");
  for (const auto& [id, name] : known)
    if (id == reference)
      return id;
  // A name is unique per owner only: an admin sees several owners' sandboxes.
  std::vector<const std::pair<std::string, std::string>*> found;
  for (const auto& entry : known)
    if (entry.second == reference)
      found.push_back(&entry);
  if (found.empty())
    for (const auto& entry : known)
      if (entry.first.rfind(reference, 0) == 0
          || entry.second.rfind(reference, 0) == 0)
        found.push_back(&entry);
  if (found.size() == 1)
    return found.front()->first;
  if (found.empty())
    return fail(ec::not_found, "no sandbox " + quoted(reference),
                "caged list shows them");
  std::string candidates;
  constexpr std::size_t shown = 5;
  for (std::size_t i = 0; i < found.size() && i < shown; ++i) {
    candidates += i == 0 ? "" : ", ";
    candidates += found[i]->first;
    if (!found[i]->second.empty())
      candidates += " (" + found[i]->second + ")";
  }
  if (found.size() > shown)
    candidates += ", ...";
  return fail(ec::ambiguous,
              quoted(reference) + " fits " + std::to_string(found.size())
                  + " sandboxes: " + candidates,
              "write more of the id");
}

} // namespace caged
