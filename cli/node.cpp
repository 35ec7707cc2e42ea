#include "cli/node.hpp"

#include <iostream>

#include <nlohmann/json.hpp>

#include "cli/endpoint.hpp"
#include "cli/structured.hpp"
#include "cli/table.hpp"
#include "messages/join_token.hpp"
#include "messages/text.hpp"

namespace caged::cli {

using nlohmann::json;

namespace {

json to_json(const api::node_info& from) {
  return {{"id", from.id},
          {"name", from.name},
          {"status", status_of(from)},
          {"live", from.live},
          {"cordoned", from.cordoned},
          {"cordoned_by", from.cordoned_by},
          {"self", from.self},
          {"version", from.version},
          {"address", from.address},
          {"public_key", from.public_key},
          {"metrics", from.metrics},
          {"runtime", from.runtime},
          {"networks", from.networks},
          {"labels", from.labels},
          {"cpus_total", from.cpus_total},
          {"cpus_reserved", from.cpus_reserved},
          {"memory_mb_total", from.memory_mb_total},
          {"memory_mb_reserved", from.memory_mb_reserved},
          {"disk_gb_total", from.disk_gb_total},
          {"disk_gb_reserved", from.disk_gb_reserved},
          {"sandboxes", from.sandboxes},
          {"templates", from.templates}};
}

std::string share(std::uint64_t used, std::uint64_t total, const char* unit) {
  return std::to_string(used) + "/" + std::to_string(total) + unit;
}

template <class Items, class Text>
std::string joined(const Items& from, Text text) {
  std::string out;
  for (const auto& each : from)
    out += (out.empty() ? "" : ",") + text(each);
  return out;
}

} // namespace

std::string status_of(const api::node_info& node) {
  return std::string{node.live ? "ready" : "lost"}
         + (node.cordoned ? ",cordoned" : "");
}

std::string show(const api::node_list_reply& reply, format as) {
  if (as != format::table) {
    auto rows = json::array();
    for (const auto& each : reply.nodes)
      rows.push_back(to_json(each));
    return dump(rows, as);
  }
  table out{{"NAME", "STATUS", "VERSION", "CPUS", "MEMORY", "DISK", "SANDBOXES",
             "ADDRESS"}};
  for (const auto& each : reply.nodes)
    out.add({each.name, status_of(each), each.version,
             share(each.cpus_reserved, each.cpus_total, ""),
             share(each.memory_mb_reserved, each.memory_mb_total, " MB"),
             share(each.disk_gb_reserved, each.disk_gb_total, " GB"),
             std::to_string(each.sandboxes),
             each.address.empty() ? "-" : each.address});
  return out.str(stdout_has_colour());
}

std::string show(const api::node_info& node, format as) {
  if (as != format::table)
    return dump(to_json(node), as);
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"id", node.id},
      {"name", node.name},
      {"status", status_of(node)
                     + (node.cordoned && !node.cordoned_by.empty()
                            ? " by " + node.cordoned_by
                            : "")},
      {"this node", node.self ? "yes" : "no"},
      {"version", node.version},
      {"address", node.address.empty() ? "none: ipc alone" : node.address},
      {"public key", node.public_key},
      {"metrics", node.metrics},
      {"runtime", node.runtime},
      {"networks",
       joined(node.networks, [](const auto& each) { return each; })},
      {"labels",
       joined(node.labels,
              [](const auto& each) { return each.first + "=" + each.second; })},
      {"cpus", share(node.cpus_reserved, node.cpus_total, " reserved")},
      {"memory",
       share(node.memory_mb_reserved, node.memory_mb_total, " MB reserved")},
      {"disk",
       share(node.disk_gb_reserved, node.disk_gb_total, " GB reserved")},
      {"sandboxes", std::to_string(node.sandboxes)},
      {"templates",
       joined(node.templates, [](const auto& each) { return each; })}};
  std::string out;
  constexpr std::size_t column = 12;
  for (const auto& [key, value] : rows) {
    auto name = key;
    name.resize(column, ' ');
    constexpr std::size_t longest = 4096; // 32 labels
    out += name + (value.empty() ? "-" : escape_text(value, longest)) + "\n";
  }
  return out;
}

result<int> run_node_list(const common_options& with,
                          const node_options& what) {
  const auto got = ask<api::node_list_reply>(with.endpoint, api::node_list{});
  if (!got)
    return tl::unexpected<failure>(got.error());
  if (what.quiet)
    for (const auto& each : got->nodes)
      std::cout << escape_text(each.id) << "\n";
  else
    std::cout << show(*got, with.as);
  say_notice(got->notice);
  return 0;
}

result<int> run_node_get(const common_options& with, const node_options& what) {
  const auto got =
      ask<api::node_reply>(with.endpoint, api::node_get{what.node});
  if (!got)
    return tl::unexpected<failure>(got.error());
  std::cout << show(got->node, with.as);
  return 0;
}

result<int> run_node_cordon(const common_options& with,
                            const node_options& what, bool on) {
  int code = 0;
  for (const auto& each : what.nodes) {
    const auto done =
        ask<api::node_reply>(with.endpoint, api::node_cordon{each, on});
    if (!done) {
      code = exit_code_of(done.error(), false);
      continue;
    }
    if (with.as != format::table) {
      auto out = to_json(done->node);
      out["changed"] = done->changed;
      std::cout << dump(out, with.as);
      continue;
    }
    std::cout << escape_text(done->node.name)
              << (on ? " is cordoned" : " is not cordoned")
              << (done->changed ? "" : " (it was before)") << "\n";
  }
  return code;
}

result<int> run_node_token(const common_options& with,
                           const node_options& what) {
  api::node_token_create wanted;
  if (!what.ttl.empty()) {
    const auto ttl = parse_duration(what.ttl);
    if (!ttl)
      return tl::unexpected<failure>(ttl.error());
    if (auto good = check_join_ttl(*ttl); !good)
      return fail(ec::bad_request, "--ttl " + caged::quoted(what.ttl) + ": "
                                       + good.error().message);
    wanted.ttl = *ttl;
  }
  const auto made = ask<api::node_token_reply>(with.endpoint, wanted);
  if (!made)
    return tl::unexpected<failure>(made.error());
  if (with.as != format::table) {
    std::cout << dump({{"token", made->token},
                       {"expires_ms", made->expires_ms},
                       {"address", made->address}},
                      with.as);
    return 0;
  }
  std::cout << escape_text(made->token, made->token.size()) << "\n";
  std::cerr << "good for one host until " << utc_text(made->expires_ms)
            << ", and shown this once; there: caged-node join "
            << escape_text(made->address) << " --token-file FILE\n";
  return 0;
}

result<int> run_node_rm(const common_options& with, const node_options& what) {
  int code = 0;
  for (const auto& each : what.nodes) {
    const auto done = ask<api::node_remove_reply>(
        with.endpoint, api::node_remove{each, what.force});
    if (!done) {
      code = exit_code_of(done.error(), false);
      continue;
    }
    if (with.as != format::table)
      std::cout << dump({{"id", done->id},
                         {"name", done->name},
                         {"sandboxes", done->sandboxes}},
                        with.as);
    else
      std::cout << escape_text(done->name) << " is removed"
                << (done->sandboxes == 0
                        ? std::string{}
                        : ", and " + std::to_string(done->sandboxes)
                              + (done->sandboxes == 1 ? " sandbox"
                                                      : " sandboxes")
                              + " forgotten")
                << "\n";
  }
  return code;
}

} // namespace caged::cli
