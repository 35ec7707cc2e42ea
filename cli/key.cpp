#include "cli/key.hpp"

#include <iostream>

#include <nlohmann/json.hpp>
#include <pwd.h>
#include <unistd.h>

#include "cli/context.hpp"
#include "cli/endpoint.hpp"
#include "cli/structured.hpp"
#include "cli/table.hpp"
#include "messages/curve_key.hpp"
#include "messages/curve_pair.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

/// Where it is a name that caged takes.
std::string login_name() {
  const auto* user = ::getpwuid(::geteuid());
  const std::string name = user ? user->pw_name : "";
  return is_valid_name(name) ? name : "default";
}

json to_json(const api::key_info& from) {
  return {{"key", from.key},
          {"name", from.name},
          {"role", std::string{to_string(from.as)}},
          {"owner", "key:" + from.name},
          {"created_ms", from.created_ms}};
}

std::string show(const std::vector<api::key_info>& keys, format as) {
  if (as != format::table) {
    auto rows = json::array();
    for (const auto& each : keys)
      rows.push_back(to_json(each));
    return dump(rows, as);
  }
  table out{{"NAME", "ROLE", "KEY", "AGE"}};
  for (const auto& each : keys)
    out.add({each.name, std::string{to_string(each.as)}, each.key,
             age(each.created_ms, wall_clock_ms())});
  return out.str(stdout_has_colour());
}

} // namespace

result<fs::path> key_path(const std::string& name) {
  auto folder = config_directory();
  if (!folder)
    return folder;
  return *folder / "keys" / (name.empty() ? login_name() : name);
}

result<int> run_key_create(const common_options& with,
                           const key_options& what) {
  const auto name = what.name.empty() ? login_name() : what.name;
  if (!is_valid_name(name))
    return fail(ec::bad_request,
                caged::quoted(name) + " cannot be the name of a key",
                "take 1 to 63 of a-z, 0-9 and -, not - first");
  auto folder = make_config_directory("keys");
  if (!folder)
    return tl::unexpected<failure>(folder.error());
  auto made = make_key_pair(name);
  if (!made)
    return tl::unexpected<failure>(made.error());
  const auto path = *folder / name;
  auto done = write_key_pair(path, *made,
                             what.force ? if_there::replace : if_there::refuse);
  if (!done) {
    auto why = done.error();
    if (why.code == ec::conflict)
      why.hint = "take another name, or --force when nobody needs it any more";
    return tl::unexpected<failure>(why);
  }
  if (with.as != format::table)
    std::cout << dump({{"name", name},
                       {"key", made->public_key},
                       {"secret_file", path.string()},
                       {"public_file", path.string() + ".pub"}},
                      with.as);
  else
    std::cout << path.string() << ".pub\n";
  std::cerr << "send " << path.string() << ".pub to an admin: caged key "
            << "authorize " << name << ".pub --role user\n";
  return 0;
}

result<int> run_key_authorize(const common_options& with,
                              const key_options& what) {
  auto read = read_public_key(what.file);
  if (!read)
    return tl::unexpected<failure>(read.error());
  const auto role = api::role_from(what.role);
  if (!role)
    return fail(ec::bad_request, "there is no role " + caged::quoted(what.role),
                "the roles are admin, user and viewer");
  api::key_authorize wanted;
  wanted.key = read->public_key;
  wanted.name = what.as.empty() ? read->name : what.as;
  wanted.as = *role;
  // The name in a file is its sender's word, and sandboxes belong to names.
  wanted.shared = !what.as.empty();
  if (wanted.name.empty())
    return fail(ec::bad_request, what.file + " does not say whose key it is",
                "give --name WHO");
  auto done = ask<api::key_reply>(with.endpoint, std::move(wanted));
  if (!done)
    return tl::unexpected<failure>(done.error());
  if (with.as != format::table) {
    auto out = to_json(done->info);
    out["created"] = done->created;
    std::cout << dump(out, with.as);
  } else {
    std::cout << escape_text(done->info.key) << "\n";
    std::cerr << escape_text(done->info.name) << " is "
              << to_string(done->info.as) << " from now on\n";
  }
  return 0;
}

result<int> run_key_revoke(const common_options& with,
                           const key_options& what) {
  int code = 0;
  for (const auto& each : what.keys) {
    auto done =
        ask<api::key_revoke_reply>(with.endpoint, api::key_revoke{each});
    if (!done) {
      code = exit_code_of(done.error(), false);
      continue;
    }
    for (const auto& gone : done->keys)
      std::cout << escape_text(gone.key) << "\n";
  }
  return code;
}

result<int> run_key_list(const common_options& with, const key_options& what) {
  auto got = ask<api::key_list_reply>(with.endpoint, api::key_list{});
  if (!got)
    return tl::unexpected<failure>(got.error());
  if (what.quiet)
    for (const auto& each : got->keys)
      std::cout << escape_text(each.key) << "\n";
  else
    std::cout << show(got->keys, with.as);
  return 0;
}

} // namespace caged::cli
