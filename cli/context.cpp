#include "cli/context.hpp"

#include <cstdlib>
#include <iostream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "cli/key.hpp"
#include "cli/resolve.hpp"
#include "cli/structured.hpp"
#include "cli/table.hpp"
#include "messages/curve_key.hpp"
#include "messages/key_file.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* file_name = "contexts.yaml";

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> out;
  std::istringstream items{list};
  for (std::string item; std::getline(items, item, ',');)
    if (!item.empty())
      out.push_back(item);
  return out;
}

/// Each a key or the file of one.
result<std::vector<std::string>> server_keys(const std::string& list) {
  std::vector<std::string> out;
  for (const auto& each : split(list)) {
    if (auto key = parse_public_key(each)) {
      out.push_back(*key);
      continue;
    }
    auto read = read_public_key(each);
    if (!read)
      return fail(read.error().code == ec::not_found ? ec::bad_request
                                                     : read.error().code,
                  "--server-key " + caged::quoted(each)
                      + " is neither a public key nor a file of one",
                  "caged node status shows it on the node; quote it for the "
                  "shell: --server-key 'KEY'");
    out.push_back(read->public_key);
  }
  return out;
}

result<std::vector<std::string>> endpoints(const std::string& list) {
  auto out = split(list);
  for (const auto& each : out)
    if (!each.starts_with("ipc://") && !each.starts_with("tcp://"))
      return fail(ec::bad_request,
                  "the endpoint " + caged::quoted(each) + " is not supported",
                  std::string{"use tcp://HOST:PORT, or ipc:// and a path, such "
                              "as "}
                      + default_endpoint);
  if (out.empty())
    return fail(ec::bad_request, "no endpoint is given",
                "for example --endpoint tcp://node1.example.org:7400");
  return out;
}

result<fs::path> contexts_file() {
  auto path = config_directory();
  if (path)
    *path /= file_name;
  return path;
}

result<context> find_context(const std::string& name) {
  if (name == local_context)
    return context{{default_endpoint}, {}, {}};
  auto file = contexts_file();
  if (!file)
    return tl::unexpected<failure>(file.error());
  auto known = read_contexts(*file);
  if (!known)
    return tl::unexpected<failure>(known.error());
  auto it = known->all.find(name);
  if (it == known->all.end())
    return fail(ec::not_found, "there is no context " + caged::quoted(name),
                "caged context list shows them");
  return it->second;
}

/// The context that no flag and no variable names; a machine without home or
/// file has the local one.
result<std::string> context_in_use() {
  auto file = contexts_file();
  if (!file)
    return std::string{local_context};
  auto known = read_contexts(*file);
  if (!known)
    return tl::unexpected<failure>(known.error());
  return known->current;
}

/// Whether a value is what its variable says and no flag.
bool is_from(const char* variable, const std::string& value) {
  const char* set = std::getenv(variable);
  return set && value == set;
}

result<context> chosen(const address_options& from) {
  const bool endpoint = !from.endpoint.empty(), named = !from.context.empty();
  const bool endpoint_flag =
      endpoint && !is_from("CAGED_ENDPOINT", from.endpoint);
  const bool context_flag = named && !is_from("CAGED_CONTEXT", from.context);
  if (endpoint_flag && context_flag)
    return fail(ec::bad_request, "--endpoint and --context exclude each other",
                "give one of them");
  if (endpoint && (endpoint_flag || !context_flag)) {
    auto where = endpoints(from.endpoint);
    if (!where)
      return tl::unexpected<failure>(where.error());
    return context{std::move(*where), {}, {}};
  }
  if (named)
    return find_context(from.context);
  auto name = context_in_use();
  if (!name)
    return tl::unexpected<failure>(name.error());
  return find_context(*name);
}

result<contexts> known_contexts(fs::path& file) {
  auto folder = make_config_directory();
  if (!folder)
    return tl::unexpected<failure>(folder.error());
  file = *folder / file_name;
  return read_contexts(file);
}

} // namespace

result<node_address> resolve(const address_options& from) {
  auto where = chosen(from);
  if (!where)
    return tl::unexpected<failure>(where.error());
  if (!from.server_key.empty()) {
    auto keys = server_keys(from.server_key);
    if (!keys)
      return tl::unexpected<failure>(keys.error());
    where->server_keys = std::move(*keys);
  }
  if (!from.key.empty())
    where->key_file = from.key;
  node_address out;
  std::size_t tcp = 0;
  for (const auto& each : where->endpoints) {
    out.endpoints.push_back({each, {}});
    auto& one = out.endpoints.back();
    if (!one.is_tcp())
      continue;
    const auto& keys = where->server_keys;
    if (keys.empty())
      return fail(ec::bad_request,
                  each
                      + " wants the node's public key, so that nobody can "
                        "pose as it",
                  "give --server-key; caged node status shows it on that host");
    if (keys.size() != 1 && keys.size() <= tcp)
      return fail(ec::bad_request, "there are fewer server keys than endpoints",
                  "give one for all of them, or one for each");
    one.server_key = keys.size() == 1 ? keys.front() : keys[tcp];
    ++tcp;
  }
  if (tcp == 0)
    return out;
  if (where->key_file.empty()) {
    auto fallback = key_path({});
    if (!fallback)
      return tl::unexpected<failure>(fallback.error());
    where->key_file = fallback->string();
  }
  auto ours = read_secret_key(where->key_file);
  if (!ours) {
    auto why = ours.error();
    if (why.code == ec::not_found)
      why.hint = "make one with caged key create, or name yours with --key";
    return tl::unexpected<failure>(why);
  }
  out.key = std::move(*ours);
  out.key_path = where->key_file;
  return out;
}

result<int> run_context_add(const common_options&,
                            const context_options& what) {
  if (!is_valid_name(what.name) || what.name == local_context)
    return fail(ec::bad_request,
                caged::quoted(what.name) + " cannot be a context's name",
                "take 1 to 63 of a-z, 0-9 and -; local is this host");
  fs::path file;
  auto known = known_contexts(file);
  if (!known)
    return tl::unexpected<failure>(known.error());
  if (known->all.count(what.name) > 0 && !what.force)
    return fail(ec::conflict,
                "there is a context " + caged::quoted(what.name) + " already",
                "caged context rm " + what.name + ", or --force");
  context made;
  auto where = endpoints(what.endpoint);
  if (!where)
    return tl::unexpected<failure>(where.error());
  made.endpoints = std::move(*where);
  auto keys = server_keys(what.server_key);
  if (!keys)
    return tl::unexpected<failure>(keys.error());
  made.server_keys = std::move(*keys);
  std::error_code none;
  if (!what.key.empty())
    made.key_file = fs::absolute(what.key, none).string();
  // Looked through as a command would, before it is written down.
  node_address tried;
  std::size_t tcp = 0;
  for (const auto& each : made.endpoints)
    tcp += endpoint{each, {}}.is_tcp() ? 1 : 0;
  if (tcp > 0 && made.server_keys.size() != 1 && made.server_keys.size() != tcp)
    return fail(ec::bad_request,
                "a context for tcp:// wants the node's public key",
                "give --server-key: one for all endpoints, or one for each");
  if (!made.key_file.empty())
    if (auto ours = read_secret_key(made.key_file); !ours)
      return tl::unexpected<failure>(ours.error());
  known->all[what.name] = std::move(made);
  if (auto done = write_contexts(file, *known); !done)
    return tl::unexpected<failure>(done.error());
  std::cout << what.name << "\n";
  return 0;
}

result<int> run_context_use(const common_options&,
                            const context_options& what) {
  fs::path file;
  auto known = known_contexts(file);
  if (!known)
    return tl::unexpected<failure>(known.error());
  if (what.name != local_context && known->all.count(what.name) == 0)
    return fail(ec::not_found,
                "there is no context " + caged::quoted(what.name),
                "caged context list shows them");
  known->current = what.name;
  if (auto done = write_contexts(file, *known); !done)
    return tl::unexpected<failure>(done.error());
  std::cout << what.name << "\n";
  return 0;
}

result<int> run_context_rm(const common_options&, const context_options& what) {
  fs::path file;
  auto known = known_contexts(file);
  if (!known)
    return tl::unexpected<failure>(known.error());
  if (known->all.erase(what.name) == 0)
    return fail(ec::not_found,
                "there is no context " + caged::quoted(what.name),
                "caged context list shows them");
  if (known->current == what.name)
    known->current = local_context;
  if (auto done = write_contexts(file, *known); !done)
    return tl::unexpected<failure>(done.error());
  std::cout << what.name << "\n";
  return 0;
}

result<int> run_context_list(const common_options& with) {
  auto file = contexts_file();
  if (!file)
    return tl::unexpected<failure>(file.error());
  auto known = read_contexts(*file);
  if (!known)
    return tl::unexpected<failure>(known.error());
  auto all = known->all;
  all[local_context] = {{default_endpoint}, {}, {}};
  auto rows = nlohmann::json::array();
  table out{{"NAME", "IN USE", "ENDPOINT", "KEY"}};
  for (const auto& [name, each] : all) {
    std::string where;
    for (const auto& one : each.endpoints)
      where += (where.empty() ? "" : ",") + one;
    const bool used = name == known->current;
    out.add({name, used ? "yes" : "", where, each.key_file});
    rows.push_back({{"name", name},
                    {"current", used},
                    {"endpoints", each.endpoints},
                    {"server_keys", each.server_keys},
                    {"key", each.key_file}});
  }
  std::cout << (with.as == format::table ? out.str(stdout_has_colour())
                                         : dump(rows, with.as));
  return 0;
}

} // namespace caged::cli
