#include "agent/users.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include <unistd.h>

#include "agent/small_file.hpp"
#include "messages/text.hpp"

namespace caged::agent {

namespace {

/// More than any real passwd; a tenant's own file may be anything.
constexpr std::size_t table_max = 64 * 1024;

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  for (;;) {
    auto at = text.find(by);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos)
      return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<unsigned> to_id(std::string_view text) {
  unsigned value = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  // The highest number means "do not change" to setresuid(2).
  if (error != std::errc{} || end != text.data() + text.size()
      || value == static_cast<unsigned>(-1))
    return std::nullopt;
  return value;
}

/// passwd(5): name:password:uid:gid:comment:home:shell
template <class Matches>
std::optional<identity> from_passwd(const std::string& root,
                                    const Matches& matches) {
  auto table = read_small(root + "/etc/passwd", table_max);
  for (auto line : split(table, '\n')) {
    auto fields = split(line, ':');
    if (fields.size() < 7)
      continue;
    auto uid = to_id(fields[2]), gid = to_id(fields[3]);
    if (!uid || !gid || !matches(fields[0], *uid))
      continue;
    identity out;
    out.uid = *uid;
    out.gid = *gid;
    out.name = fields[0];
    if (!fields[5].empty())
      out.home = fields[5];
    if (!fields[6].empty())
      out.shell = fields[6];
    return out;
  }
  return std::nullopt;
}

/// group(5): name:password:gid:member,member
void add_groups(const std::string& root, identity& to) {
  auto table = read_small(root + "/etc/group", table_max);
  to.groups.push_back(to.gid);
  for (auto line : split(table, '\n')) {
    auto fields = split(line, ':');
    if (fields.size() < 4 || to.groups.size() >= 64)
      continue;
    auto gid = to_id(fields[2]);
    auto members = split(fields[3], ',');
    if (gid && *gid != to.gid
        && std::find(members.begin(), members.end(), to.name) != members.end())
      to.groups.push_back(*gid);
  }
}

} // namespace

result<identity> find_user(std::string_view wanted, const std::string& root) {
  std::optional<identity> found;
  std::optional<unsigned> gid;
  auto own = std::to_string(::geteuid());
  if (wanted.empty())
    wanted = own;
  auto colon = wanted.find(':');
  auto uid = to_id(wanted.substr(0, colon));
  if (uid) {
    if (colon != std::string_view::npos) {
      gid = to_id(wanted.substr(colon + 1));
      if (!gid)
        return fail(ec::bad_request, "user " + quoted(wanted)
                                         + " is not uid or uid:gid in digits");
    }
    found = from_passwd(
        root, [&](std::string_view, unsigned id) { return id == *uid; });
    if (!found) {
      found.emplace();
      found->uid = *uid;
      found->gid = gid.value_or(*uid);
      found->name = std::to_string(*uid);
    }
  } else {
    found = from_passwd(
        root, [&](std::string_view name, unsigned) { return name == wanted; });
    if (!found)
      return fail(ec::bad_request,
                  "user " + quoted(wanted) + " is not in /etc/passwd");
  }
  if (gid)
    found->gid = *gid;
  add_groups(root, *found);
  return std::move(*found);
}

} // namespace caged::agent
