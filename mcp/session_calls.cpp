#include <exception>

#include "mcp/log.hpp"
#include "mcp/session_impl.hpp"
#include "messages/text.hpp"

// What takes time: tools, and what is read from the disk.

namespace caged::mcp {

namespace {

/// Bytes of text in arguments, about; what is nested counts little.
std::size_t weight(const json& arguments) {
  std::size_t out = 0;
  for (const auto& each : arguments)
    out += each.is_string() ? each.get_ref<const std::string&>().size()
                            : 64 * each.size();
  return out;
}

constexpr std::size_t big_bytes = 256U << 10U;

std::string run_tool(const tool& what, const json& arguments_object,
                     running_call& c) {
  arguments given{arguments_object};
  auto done = what.run(given, c);
  auto out = done ? std::move(*done) : tool_error(done.error());
  // Never where messages are read: that thread must not wait for a reader.
  if (c.queued && out.text.size() > big_bytes)
    c.big = std::unique_lock{c.session->big_results()};
  return tool_response(c.of.message.id, c.of.spoken, std::move(out));
}

/// Nothing: it has to run on a worker. There an exception has its answer, too.
std::optional<std::string> answer_at_once(const tool& what, const request& r) {
  try {
    auto done = what.at_once(arguments{r.message.params["arguments"]});
    if (!done)
      return std::nullopt;
    return tool_response(r.message.id, r.spoken,
                         *done ? std::move(**done) : tool_error(done->error()));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

} // namespace

void client_session::call_tool(request&& r) {
  auto& params = r.message.params;
  auto name = params.find("name");
  if (name == params.end() || !name->is_string())
    return refuse(r, rpc_code::invalid_params, "name must be a string");
  const auto& wanted = name->get_ref<const std::string&>();
  const auto* found = server_.what.tools.find(wanted);
  if (found == nullptr) {
    // -32602: server/tools, "Error Handling", of every revision.
    auto why = "Unknown tool: " + escape_text(wanted, 128);
    for (const auto& each : server_.left_out)
      if (each == wanted)
        why += " (this server is read-only)";
    return refuse(r, rpc_code::invalid_params, why);
  }
  auto arguments_at = params.find("arguments");
  if (arguments_at == params.end() || arguments_at->is_null())
    params["arguments"] = json::object();
  else if (!arguments_at->is_object())
    return refuse(r, rpc_code::invalid_params, "arguments must be an object");
  auto make = [found](running_call& c) {
    return run_tool(*found, c.of.message.params["arguments"], c);
  };
  if (found->pace == tool_pace::quick)
    return run(std::make_shared<running_call>(self(), std::move(r)), make);
  if (found->at_once != nullptr)
    if (auto text = answer_at_once(*found, r)) {
      r.group->answer(std::move(*text));
      return;
    }
  later(std::move(r), make, found->pace);
}

void client_session::later(request&& r, answer_maker make, tool_pace pace) {
  auto params = r.message.params.find("arguments");
  const auto bytes = params == r.message.params.end() ? 0 : weight(*params);
  const auto key = to_text(r.message.id);
  const auto& limits = server_.config.limits;
  auto c = std::make_shared<running_call>(self(), std::move(r));
  const auto before = server_.argument_bytes.fetch_add(bytes);
  c->bytes = bytes;
  c->queued = true;
  std::string_view why;
  auto code = rpc_code::internal_error;
  {
    std::lock_guard lock{mutex_};
    if (closed_) {
      why = "this session was closed";
    } else if (before > 0 && before + bytes > argument_bytes_most) {
      why = "calls with too many bytes are under way: send this one again "
            "when some have ended";
    } else if (subscriptions_.count(key) > 0
               || !calls_.emplace(key, c).second) {
      why = "this id is in use by another request";
      code = rpc_code::invalid_request;
    }
  }
  if (!why.empty()) {
    server_.argument_bytes -= bytes;
    return refuse(c->of, code, why);
  }
  ++busy_;
  if (pace == tool_pace::brief && c->of.group->lend([&] { run(c, make); }))
    return;
  const auto taken = server_.pool.submit(
      lane_, [this, c, make = std::move(make)] { run(c, make); },
      limits.waiting_calls);
  if (taken == workers::outcome::taken)
    return;
  forget(*c);
  --busy_;
  server_.argument_bytes -= bytes;
  refuse(c->of, rpc_code::internal_error,
         taken == workers::outcome::full
             ? "too many calls wait already: send this one again when some "
               "have ended"
             : "no thread is to be had for this call: send it again later");
}

void client_session::run(const std::shared_ptr<running_call>& c,
                         const answer_maker& make) {
  const auto& id = c->of.message.id;
  std::string text;
  if (!c->cancelled()) {
    try {
      text = make(*c);
    } catch (const std::exception& e) {
      // A library's, or no memory: the server goes on.
      log::error("a call failed", {{"method", c->of.message.method},
                                   {"error", escape_text(e.what(), 256)}});
      text = error_response(id, rpc_code::internal_error,
                            "this call failed inside the server");
    }
  }
  const auto wanted = c->end();
  c->of.message.params = nullptr;
  if (c->queued) {
    server_.argument_bytes -= c->bytes;
    // Before the answer: then the client may use its id again.
    forget(*c);
  }
  if (wanted)
    c->of.group->answer(std::move(text));
  else
    c->of.group->drop();
  if (c->big.owns_lock())
    c->big.unlock();
  if (c->queued)
    --busy_;
}

void client_session::list_resources(request&& r) {
  if (server_.what.resources == nullptr)
    return refuse(r, rpc_code::method_not_found,
                  "this server has no resources");
  auto cursor = r.message.params.find("cursor");
  if (cursor != r.message.params.end() && !cursor->is_null()
      && !cursor->is_string())
    return refuse(r, rpc_code::invalid_params, "cursor must be a string");
  later(std::move(r), [this](running_call& c) {
    const auto& message = c.of.message;
    auto from = message.params.find("cursor");
    auto page = server_.what.resources->list(
        from == message.params.end() || from->is_null()
            ? std::string_view{}
            : from->get_ref<const std::string&>(),
        c);
    if (!page)
      return error_response(message.id, rpc_code::invalid_params,
                            page.error().message);
    std::string members = "\"resources\":[";
    for (std::size_t i = 0; i < page->items.size(); ++i) {
      if (!has_titles(c.of.spoken))
        page->items[i].erase("title");
      members += (i > 0 ? "," : "") + to_text(page->items[i]);
    }
    members += ']';
    if (!page->next.empty())
      members += ",\"nextCursor\":" + to_text(page->next);
    return result_response(message.id, c.of.spoken,
                           members + cache_members(c.of.spoken, 0));
  });
}

void client_session::list_templates(request&& r) {
  if (server_.what.resources == nullptr)
    return refuse(r, rpc_code::method_not_found,
                  "this server has no resources");
  if (auto cursor = r.message.params.find("cursor");
      cursor != r.message.params.end() && !cursor->is_null())
    return refuse(r, rpc_code::invalid_params,
                  "there is no such cursor: start again without one");
  auto items = json::array();
  for (auto& each : server_.what.resources->templates()) {
    if (!has_titles(r.spoken))
      each.erase("title");
    items.push_back(std::move(each));
  }
  answer(r, "\"resourceTemplates\":" + to_text(items)
                + cache_members(r.spoken, 300'000));
}

void client_session::read_resource(request&& r) {
  if (server_.what.resources == nullptr)
    return refuse(r, rpc_code::method_not_found,
                  "this server has no resources");
  auto uri = r.message.params.find("uri");
  if (uri == r.message.params.end() || !uri->is_string())
    return refuse(r, rpc_code::invalid_params, "uri must be a string");
  later(std::move(r), [this](running_call& c) {
    const auto& message = c.of.message;
    const auto uri_text = message.params["uri"].get<std::string>();
    auto items = server_.what.resources->read(uri_text, c);
    if (!items) {
      const auto& why = items.error();
      // -32002 until 2025-11-25 (server/resources, "Error Handling").
      const auto code = why.code == ec::not_found && !is_modern(c.of.spoken)
                            ? rpc_code::resource_not_found
                        : why.code == ec::io ? rpc_code::internal_error
                                             : rpc_code::invalid_params;
      return error_response(message.id, code,
                            why.hint.empty() ? why.message
                                             : why.message + ": " + why.hint,
                            {{"uri", uri_text}});
    }
    c.big = std::unique_lock{c.session->big_results()};
    std::string members = "\"contents\":[";
    for (std::size_t i = 0; i < items->size(); ++i)
      members += (i > 0 ? "," : "")
                 + to_text_with(std::move((*items)[i]), {"text", "blob"});
    items->clear();
    return result_response(message.id, c.of.spoken,
                           members + ']' + cache_members(c.of.spoken, 0));
  });
}

void client_session::forget(const running_call& c) {
  std::lock_guard lock{mutex_};
  auto at = calls_.find(to_text(c.of.message.id));
  if (at != calls_.end() && at->second.get() == &c)
    calls_.erase(at);
}

} // namespace caged::mcp
