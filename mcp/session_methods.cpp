#include "mcp/log.hpp"
#include "mcp/session_impl.hpp"
#include "messages/text.hpp"

// The methods that need no worker. Which revision has which: the schemas of the
// specification, schema/REVISION/schema.ts.

namespace caged::mcp {

const std::map<std::string_view, client_session::method_entry>&
client_session::methods() {
  using s = client_session;
  static const std::map<std::string_view, method_entry> all = {
      {"initialize", {&s::initialize, true, false}},
      {"ping", {&s::ping, true, false}},
      {"server/discover", {&s::discover, false, true}},
      {"subscriptions/listen", {&s::listen, false, true}},
      {"logging/setLevel", {&s::set_level, true, false}},
      {"tools/list", {&s::list_tools, true, true}},
      {"tools/call", {&s::call_tool, true, true}},
      {"resources/list", {&s::list_resources, true, true}},
      {"resources/templates/list", {&s::list_templates, true, true}},
      {"resources/read", {&s::read_resource, true, true}},
      {"resources/subscribe", {&s::subscribe, true, false}},
      {"resources/unsubscribe", {&s::subscribe, true, false}},
      {"prompts/list", {&s::list_prompts, true, true}},
      {"prompts/get", {&s::get_prompt, true, true}},
      {"completion/complete", {&s::complete, true, true}},
  };
  return all;
}

void client_session::initialize(request&& r) {
  const auto& params = r.message.params;
  auto wanted = params.find("protocolVersion");
  if (wanted == params.end() || !wanted->is_string())
    return refuse(r, rpc_code::invalid_params,
                  "protocolVersion must be a string such as \"2025-11-25\"");
  const auto asked = revision_from(wanted->get_ref<const std::string&>());
  // One that we do not speak, or not after a handshake: the newest that has it
  // (basic/lifecycle, "Version Negotiation").
  const auto settled =
      asked && !is_modern(*asked) ? *asked : revision::r2025_11_25;
  {
    std::unique_lock lock{mutex_};
    if (revision_) {
      lock.unlock();
      return refuse(r, rpc_code::invalid_request,
                    "this session was initialized already");
    }
    revision_ = settled;
  }
  r.spoken = settled;
  if (log::wants(log::level::debug)) {
    auto info = params.find("clientInfo");
    log::debug(
        "initialized",
        {{"revision", to_string(settled)},
         {"client", info == params.end() ? std::string{}
                                         : escape_text(to_text(*info), 256)}});
  }
  json out = {{"protocolVersion", to_string(settled)},
              {"capabilities", server_.capabilities(settled)},
              {"serverInfo", server_info(settled)}};
  if (!server_.what.instructions.empty())
    out["instructions"] = server_.what.instructions;
  const auto text = to_text(out);
  answer(r, std::string_view{text}.substr(1, text.size() - 2));
}

void client_session::ping(request&& r) {
  answer(r, {});
}

void client_session::discover(request&& r) {
  json out = {{"supportedVersions", revisions()},
              {"capabilities", server_.capabilities(r.spoken)}};
  if (!server_.what.instructions.empty())
    out["instructions"] = server_.what.instructions;
  const auto text = to_text(out);
  answer(r, text.substr(1, text.size() - 2) + cache_members(r.spoken, 300'000));
}

void client_session::listen(request&& r) {
  auto filter = r.message.params.find("notifications");
  if (filter == r.message.params.end() || !filter->is_object())
    return refuse(r, rpc_code::invalid_params,
                  "notifications must be an object");
  const auto key = to_text(r.message.id);
  {
    std::unique_lock lock{mutex_};
    const auto full =
        subscriptions_.size() >= server_.config.limits.waiting_calls;
    if (closed_ || full || calls_.count(key) > 0
        || !subscriptions_.emplace(key, subscription{r.group}).second) {
      lock.unlock();
      return refuse(r, rpc_code::invalid_request,
                    full ? "too many subscriptions: cancel one first"
                         : "this id is in use by another request");
    }
  }
  // Nothing of ours ever changes, so of all that is asked for nothing is
  // honored (basic/patterns/subscriptions, "Acknowledgment"). The stream stays
  // open until the client cancels it.
  r.group->tell(notification(
      "notifications/subscriptions/acknowledged",
      to_text({{"_meta",
                {{"io.modelcontextprotocol/subscriptionId", r.message.id}}},
               {"notifications", json::object()}})));
}

void client_session::subscribe(request&& r) {
  if (!server_.what.subscribable)
    return refuse(r, rpc_code::method_not_found,
                  "this server has no subscriptions");
  answer(r, {});
}

void client_session::set_level(request&& r) {
  auto level = r.message.params.find("level");
  const auto known = level != r.message.params.end() && level->is_string()
                         ? log_level_from(level->get_ref<const std::string&>())
                         : std::nullopt;
  if (!known)
    return refuse(r, rpc_code::invalid_params,
                  "level must be one of debug, info, notice, warning, error, "
                  "critical, alert, emergency");
  level_ = *known;
  answer(r, {});
}

void client_session::page_of(request&& r,
                             const std::vector<std::string>& mine) {
  std::size_t at = 0;
  if (auto cursor = r.message.params.find("cursor");
      cursor != r.message.params.end() && !cursor->is_null()) {
    // The number of the page, as we gave it out.
    for (at = 1; at < mine.size(); ++at)
      if (*cursor == std::to_string(at))
        break;
    if (at >= mine.size())
      return refuse(r, rpc_code::invalid_params,
                    "there is no such cursor: start again without one");
  }
  answer(r, mine[at]);
}

void client_session::list_tools(request&& r) {
  const auto& pages = server_.for_revision(r.spoken).tools;
  page_of(std::move(r), pages);
}

void client_session::list_prompts(request&& r) {
  if (server_.what.prompts.empty())
    return refuse(r, rpc_code::method_not_found, "this server has no prompts");
  const auto& pages = server_.for_revision(r.spoken).prompts;
  page_of(std::move(r), pages);
}

void client_session::get_prompt(request&& r) {
  if (server_.what.prompts.empty())
    return refuse(r, rpc_code::method_not_found, "this server has no prompts");
  auto name = r.message.params.find("name");
  for (const auto& each : server_.what.prompts) {
    if (name == r.message.params.end() || each.about.at("name") != *name)
      continue;
    auto arguments = r.message.params.find("arguments");
    auto got = each.get(arguments == r.message.params.end() ? json::object()
                                                            : *arguments);
    if (!got)
      return refuse(r, rpc_code::invalid_params, got.error().message);
    const auto text = to_text(*got);
    return answer(r, std::string_view{text}.substr(1, text.size() - 2));
  }
  refuse(r, rpc_code::invalid_params, "there is no such prompt");
}

void client_session::complete(request&& r) {
  if (server_.what.complete == nullptr)
    return refuse(r, rpc_code::method_not_found,
                  "this server completes nothing");
  const auto values = server_.what.complete(r.message.params);
  answer(r, "\"completion\":"
                + to_text({{"values", values},
                           {"total", values.size()},
                           {"hasMore", false}}));
}

} // namespace caged::mcp
