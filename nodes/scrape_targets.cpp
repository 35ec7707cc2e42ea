#include "nodes/scrape_targets.hpp"

#include <utility>

#include <nlohmann/json.hpp>

#include "messages/loopback.hpp"

namespace caged {

namespace {

using nlohmann::json;

/// "HOST:PORT", HOST perhaps in brackets: both parts, brackets kept.
std::pair<std::string, std::string> split(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos)
    return {address, {}};
  return {address.substr(0, colon), address.substr(colon + 1)};
}

std::string bare(const std::string& host) {
  return host.size() > 2 && host.front() == '[' && host.back() == ']'
             ? host.substr(1, host.size() - 2)
             : host;
}

bool is_any(const std::string& host) {
  const auto name = bare(host);
  return name.empty() || name == "*" || name == "0.0.0.0" || name == "::";
}

/// Of "tcp://HOST:PORT"; empty: it names none that others could use.
std::string listen_host(const std::string& listen) {
  const std::string scheme = "tcp://";
  if (!listen.starts_with(scheme))
    return {};
  auto host = split(listen.substr(scheme.size())).first;
  return is_any(host) || is_loopback_address(bare(host)) ? std::string{} : host;
}

} // namespace

std::string scrape_address(const std::string& bound, const std::string& listen,
                           const std::string& host_name) {
  const auto [host, port] = split(bound);
  const bool any = is_any(host);
  if (!any && !is_loopback_address(bare(host)))
    return bound;
  if (const auto other = listen_host(listen); !other.empty())
    return other + ":" + port;
  return any && !host_name.empty() ? host_name + ":" + port : bound;
}

bool scraped_in_vain(const std::string& bound, const std::string& listen) {
  return is_loopback_address(bare(split(bound).first))
         && !listen_host(listen).empty();
}

std::string scrape_label(std::string_view name) {
  std::string out = "label_";
  for (const char c : name)
    out += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                   || (c >= '0' && c <= '9')
               ? c
               : '_';
  return out;
}

std::string scrape_targets(const std::vector<node_view>& nodes) {
  auto out = json::array();
  for (const auto& each : nodes) {
    const auto& node = each.node;
    if (node.metrics.empty())
      continue;
    json labels = {{"node", node.name}, {"version", node.version}};
    for (const auto& [name, value] : node.labels)
      labels.emplace(scrape_label(name), value); // the first stays
    out.push_back(
        {{"targets", json::array({node.metrics})}, {"labels", labels}});
  }
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace caged
