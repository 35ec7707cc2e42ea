#include "actors/fleet_records.hpp"

#include <limits>

#include "actors/record_json.hpp"
#include "messages/sandbox.hpp"

namespace caged {

namespace {

using namespace record_json;

json capacity_json(const capacity& what) {
  return {{"cpus", what.cpus},
          {"memory_mb", what.memory_mb},
          {"disk_gb", what.disk_gb}};
}

capacity capacity_in(const json& from, const char* name) {
  const auto at = from.find(name);
  if (at == from.end() || !at->is_object())
    throw unreadable{name};
  capacity out;
  const auto cpus = number_in(*at, "cpus");
  if (cpus > std::numeric_limits<unsigned>::max())
    throw unreadable{"cpus"};
  out.cpus = static_cast<unsigned>(cpus);
  out.memory_mb = number_in(*at, "memory_mb");
  out.disk_gb = number_in(*at, "disk_gb");
  return out;
}

} // namespace

std::string node_key(std::string_view id, std::string_view what) {
  std::string out = "nodes/";
  out += id;
  out += '/';
  out += what;
  return out;
}

std::string removed_key(std::string_view node) {
  return "removed/" + std::string{node};
}

std::string placement_key(std::string_view sandbox) {
  return "placements/" + std::string{sandbox};
}

std::string name_key(std::string_view owner, std::string_view name) {
  std::string out = "names/";
  out += owner;
  out += '/';
  out += name;
  return out;
}

std::string request_key(std::string_view owner, std::string_view request_id) {
  std::string out = "requests/";
  out += owner;
  out += '/';
  out += request_id;
  return out;
}

std::string_view node_of_key(std::string_view key, std::string_view what) {
  constexpr std::string_view nodes = "nodes/";
  if (!key.starts_with(nodes))
    return {};
  key.remove_prefix(nodes.size());
  const auto slash = key.find('/');
  return slash != key.npos && key.substr(slash + 1) == what
             ? key.substr(0, slash)
             : std::string_view{};
}

std::string encode(const node_record& what) {
  return dump({{"name", what.name},
               {"version", what.version},
               {"address", what.address},
               {"public_key", what.public_key},
               {"metrics", what.metrics},
               {"runtime", what.runtime},
               {"networks", what.networks},
               {"labels", what.labels},
               {"total", capacity_json(what.total)}});
}

result<node_record> decode_node(std::string_view id, std::string_view value) {
  return reading("node", value, [&](const json& from) {
    node_record out;
    out.id = id;
    out.name = text_in(from, "name");
    out.version = text_in(from, "version");
    out.address = text_in(from, "address");
    out.public_key = text_in(from, "public_key");
    if (from.contains("metrics")) // earlier versions do not say it
      out.metrics = text_in(from, "metrics");
    out.runtime = text_in(from, "runtime");
    const auto networks = from.find("networks");
    if (networks == from.end() || !networks->is_array())
      throw unreadable{"networks"};
    for (const auto& each : *networks) {
      if (!each.is_string())
        throw unreadable{"networks"};
      out.networks.push_back(each.get<std::string>());
    }
    const auto labels = from.find("labels");
    if (labels == from.end() || !labels->is_object())
      throw unreadable{"labels"};
    for (const auto& [key, each] : labels->items()) {
      if (!each.is_string())
        throw unreadable{"labels"};
      out.labels[key] = each.get<std::string>();
    }
    out.total = capacity_in(from, "total");
    return out;
  });
}

std::string encode(const reserved_record& what) {
  return dump(
      {{"used", capacity_json(what.used)}, {"sandboxes", what.sandboxes}});
}

result<reserved_record> decode_reserved(std::string_view value) {
  return reading("reservation", value, [](const json& from) {
    reserved_record out;
    out.used = capacity_in(from, "used");
    const auto count = number_in(from, "sandboxes");
    if (count > std::numeric_limits<std::uint32_t>::max())
      throw unreadable{"sandboxes"};
    out.sandboxes = static_cast<std::uint32_t>(count);
    return out;
  });
}

std::string encode(const offers_record& what) {
  return dump({{"templates", what.templates}, {"ready", what.ready}});
}

result<offers_record> decode_offers(std::string_view value) {
  return reading("list of offers", value, [](const json& from) {
    offers_record out;
    const auto templates = from.find("templates");
    if (templates == from.end() || !templates->is_array())
      throw unreadable{"templates"};
    for (const auto& each : *templates) {
      if (!each.is_string() || !is_valid_name(each.get<std::string>()))
        throw unreadable{"templates"};
      out.templates.insert(each.get<std::string>());
    }
    const auto ready = from.find("ready");
    if (ready == from.end() || !ready->is_object())
      throw unreadable{"ready"};
    for (const auto& [name, each] : ready->items()) {
      if (!each.is_number_unsigned()
          || each.get<std::uint64_t>() > std::numeric_limits<unsigned>::max())
        throw unreadable{"ready"};
      out.ready[name] = each.get<unsigned>();
    }
    return out;
  });
}

std::string encode(const placement_record& what) {
  return dump({{"node", what.node},
               {"owner", what.owner},
               {"name", what.name},
               {"request", what.request_id},
               {"digest", what.digest},
               {"takes", capacity_json(what.takes)},
               {"created_ms", what.created_ms}});
}

result<placement_record> decode_placement(std::string_view sandbox,
                                          std::string_view value) {
  return reading("placement", value, [&](const json& from) {
    placement_record out;
    out.sandbox = sandbox;
    if (!is_valid_id(sandbox))
      throw unreadable{"id"};
    out.node = text_in(from, "node");
    out.owner = text_in(from, "owner");
    out.name = text_in(from, "name");
    out.request_id = text_in(from, "request");
    out.digest = digest_in(from, "digest");
    out.takes = capacity_in(from, "takes");
    out.created_ms = time_in(from, "created_ms");
    return out;
  });
}

std::string encode(const gone_request& what) {
  return dump({{"sandbox", what.sandbox},
               {"node", what.node},
               {"node_name", what.node_name},
               {"digest", what.digest},
               {"cause", what.cause},
               {"gone_ms", what.gone_ms}});
}

result<gone_request> decode_gone_request(std::string_view value) {
  return reading("request", value, [](const json& from) {
    gone_request out;
    out.sandbox = text_in(from, "sandbox");
    if (!is_valid_id(out.sandbox))
      throw unreadable{"sandbox"};
    out.node = text_in(from, "node");
    out.node_name = text_in(from, "node_name");
    out.digest = digest_in(from, "digest");
    out.cause = text_in(from, "cause");
    out.gone_ms = time_in(from, "gone_ms");
    return out;
  });
}

} // namespace caged
