#include <algorithm>

#include "mcp/encode.hpp"
#include "mcp/server_impl.hpp"

namespace caged::mcp {

namespace {

constexpr int list_ttl_ms = 300'000; // what never changes while we run

/// "\"tools\":[...],\"nextCursor\":\"2\"" for each page.
std::vector<std::string> pages_of(std::string_view member,
                                  const std::vector<json>& items,
                                  std::size_t size, revision r) {
  std::vector<std::string> out;
  std::size_t at = 0;
  do {
    auto text = "\"" + std::string{member} + "\":[";
    const auto end = std::min(items.size(), at + size);
    for (auto i = at; i < end; ++i)
      text += (i > at ? "," : "") + to_text(items[i]);
    text += ']';
    at = end;
    if (at < items.size())
      text += ",\"nextCursor\":\"" + std::to_string(out.size() + 1) + '"';
    out.push_back(text + cache_members(r, list_ttl_ms));
  } while (at < items.size());
  return out;
}

/// A title came with 2025-06-18.
json prompt_for(json about, revision r) {
  if (!has_titles(r))
    about.erase("title");
  return about;
}

json capabilities_of(const contents& what, revision r) {
  json out = {{"tools", json::object()}, {"logging", json::object()}};
  if (what.resources != nullptr)
    out["resources"] = what.subscribable && !is_modern(r)
                           ? json{{"subscribe", true}}
                           : json::object();
  if (!what.prompts.empty())
    out["prompts"] = json::object();
  if (what.complete != nullptr && r >= revision::r2025_03_26)
    out["completions"] = json::object();
  return out;
}

} // namespace

server::impl::impl(server_config c, std::optional<workspace> folder)
    : config{std::move(c)},
      where{std::move(folder)},
      pool{config.limits.concurrent_calls} {}

void server::impl::fill(contents given) {
  what = std::move(given);
  if (config.read_only) {
    tool_set kept;
    for (const auto& each : what.tools.all())
      if (each.writes)
        left_out.push_back(each.name);
      else
        kept.add(each);
    what.tools = std::move(kept);
  }
}

const server::impl::shown& server::impl::for_revision(revision r) {
  auto& out = by_revision[static_cast<std::size_t>(r)];
  std::call_once(out.made, [&] {
    const auto size = std::max<std::size_t>(what.page, 1);
    std::vector<json> tools;
    for (const auto& each : what.tools.all())
      tools.push_back(describe(each, r));
    out.tools = pages_of("tools", tools, size, r);
    std::vector<json> prompts;
    for (const auto& each : what.prompts)
      prompts.push_back(prompt_for(each.about, r));
    out.prompts = pages_of("prompts", prompts, size, r);
  });
  return out;
}

json server::impl::capabilities(revision r) const {
  return capabilities_of(what, r);
}

server::server(std::unique_ptr<impl> i) : impl_{std::move(i)} {}

server::~server() = default;

const server_config& server::config() const {
  return impl_->config;
}

std::unique_ptr<server> server::with(server_config config, contents what) {
  auto self = std::make_unique<impl>(std::move(config), std::nullopt);
  self->fill(std::move(what));
  return std::unique_ptr<server>{new server{std::move(self)}};
}

std::unique_ptr<server> server::with(server_config config, tool_set tools) {
  contents what;
  what.tools = std::move(tools);
  return with(std::move(config), std::move(what));
}

} // namespace caged::mcp
