#include "nodes/gateway/exchange.hpp"

#include "actors/mcp_server.hpp"
#include "messages/text.hpp"

// Who may, and to which MCP server: token, sandbox, dial.
namespace caged::gateway_parts {

namespace {

constexpr std::chrono::seconds dial_time{40}, sandbox_time{90};
constexpr std::string_view first_modern = "2026-07-28";

rules::head head_of(const http::request_header<>& from) {
  rules::head out;
  out.method = view(from.method_string());
  out.target = view(from.target());
  const auto once = [&](http::field name, std::string_view& to) {
    const auto found = from.equal_range(name);
    if (found.first == found.second)
      return false;
    to = view(found.first->value());
    out.repeated = out.repeated || std::next(found.first) != found.second;
    return true;
  };
  out.has_host = once(http::field::host, out.host);
  out.has_origin = once(http::field::origin, out.origin);
  once(http::field::authorization, out.authorization);
  return out;
}

} // namespace

/// Who may, and on to which server; up_ is open afterwards. False: refusal_.
net::awaitable<bool> exchange::admit(const http::request_header<>& request) {
  const auto head = head_of(request);
  cors_.clear();
  if (head.has_origin && rules::origin_allowed(with_.policy, head.origin))
    cors_ = head.origin;
  if (!may(head))
    co_return false;
  if (head.method == "OPTIONS" || targets_)
    co_return true;
  deadline_ = steady::now() + sandbox_time;
  api::mcp_target target;
  target.key = token_.id;
  target.read_only = token_.scope == api::token_scope::read;
  wanted_ = token_.sandbox;
  own_sandbox_ = !token_.template_name.empty();
  if (own_sandbox_) {
    const bool found = co_await sandbox_of_session(request, target);
    if (!found)
      co_return false;
  }
  const std::string key = wanted_ + ' ' + target.key;
  if (up_ && up_key_ == key && up_->open() && !up_->ended() && up_->in.empty())
    co_return true;
  deadline_ = steady::now() + dial_time;
  dial(key, target);
  co_await until([&] { return up_->open() || up_->ended(); });
  if (up_->error()) {
    refuse_for(up_->error()->why);
    co_return false;
  }
  co_return true;
}

bool exchange::may(const rules::head& head) {
  auto bad = rules::check(with_.policy, head);
  if (!bad && crowded_)
    bad = rules::refusal{503, "there are as many connections as there may "
                              "be: close one or try again later"};
  const auto place = rules::parse_target(head.target);
  targets_ = place && place->targets && with_.targets;
  // The preflight of a browser cannot carry a token (Fetch, "CORS
  // protocol").
  if (!bad && head.method == "OPTIONS" && place)
    return true;
  std::optional<api::token_info> token;
  if (!bad) {
    token = with_.tokens->find(rules::bearer_of(head.authorization),
                               wall_clock_ms());
    if (targets_)
      bad = rules::check_targets(with_.policy, head.method, token);
    else if (!token)
      bad = rules::refusal{401, "a token that is valid is required: send "
                                "Authorization: Bearer with what caged "
                                "token create printed"};
    else if (!place || place->targets)
      bad = rules::refusal{404, "there is nothing at this path: it is "
                                "/v1/sandboxes/ID/mcp or /v1/mcp"};
    else
      bad = rules::check_token(*token, *place);
  }
  if (bad) {
    refusal_ = std::move(*bad);
    return false;
  }
  token_ = token ? std::move(*token) : api::token_info{};
  query_ = place->query;
  return true;
}

void exchange::dial(const std::string& key, const api::mcp_target& target) {
  if (up_)
    up_->close();
  up_ = make_upstream();
  up_key_ = key;
  sandbox_ = wanted_;
  api::dial what;
  what.sandbox = wanted_;
  what.resume = true;
  what.mcp = target;
  // The token is the permission: its owner may have lost sight of it.
  up_->ask(std::move(what), token_.owner, /*admin*/ true);
}

std::shared_ptr<upstream> exchange::make_upstream() {
  return std::make_shared<upstream>(with_.node, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->pump();
      self->changed_.notify();
    }
  });
}

void exchange::refuse_for(const failure& why) {
  refusal_.status = rules::status_of(why.code);
  refusal_.text =
      why.hint.empty() ? why.message : why.message + " (" + why.hint + ")";
}

// A sandbox of the session's own.

/// What comes is in answered_.
net::awaitable<void> exchange::ask(api::request_body& body) {
  const auto question = make_upstream();
  question->ask(std::move(body), token_.owner, /*admin*/ false);
  co_await until([&] { return question->ended(); });
  if (question->error())
    answered_ = tl::unexpected<failure>(question->error()->why);
  else
    answered_ = *question->answer();
}

const sandbox_info* exchange::found() const {
  const auto* got =
      answered_ ? std::get_if<api::get_reply>(&*answered_) : nullptr;
  const auto* made =
      answered_ ? std::get_if<api::up_reply>(&*answered_) : nullptr;
  return got ? &got->sandbox : made ? &made->sandbox : nullptr;
}

bool exchange::no_session() {
  refusal_ = {404, "there is no such session, or it ended"};
  return false;
}

/// Its id is in wanted_. False: refusal_ says why.
net::awaitable<bool>
exchange::sandbox_of_session(const http::request_header<>& request,
                             api::mcp_target& target) {
  const std::string session{view(request["Mcp-Session-Id"])};
  const auto upgrade = is_upgrade(request);
  if (!session.empty() && !upgrade) {
    const auto parts = rules::split_session(session);
    target.one_session = true;
    if (!parts)
      co_return no_session();
    wanted_ = parts->first;
    co_return co_await known_sandbox();
  }
  // Who sends its revision with each request has no session: its sandbox
  // belongs to the token.
  std::string name = "mcp-" + token_.id.substr(token_.id.find('-') + 1);
  target.one_session =
      upgrade || view(request["MCP-Protocol-Version"]) < first_modern;
  if (target.one_session) {
    constexpr std::size_t enough = 16;
    const auto chosen = rules::parameter(query_, "session");
    name += '-'
            + (chosen.empty() ? random_name(enough)
                              : with_.tokens->digest(chosen).substr(0, enough));
  }
  if (!upgrade && view(request.method_string()) != "POST") {
    refusal_ = {400, "the Mcp-Session-Id header is missing"};
    co_return false;
  }
  api::request_body look = api::get{name};
  co_await ask(look);
  if (!answered_ && answered_.error().code == ec::not_found) {
    api::up wanted;
    wanted.spec.name = name;
    wanted.spec.template_name = token_.template_name;
    wanted.spec.labels[mcp_server::session_label] = token_.id;
    api::request_body make = std::move(wanted);
    co_await ask(make);
    if (!answered_ && answered_.error().code == ec::conflict) {
      look = api::get{name}; // another connection was faster
      co_await ask(look);
    }
  }
  if (!answered_) {
    refuse_for(answered_.error());
    co_return false;
  }
  if (!is_ours(found())) {
    refusal_ = {409, "sandbox " + name + " is in the way: destroy it"};
    co_return false;
  }
  wanted_ = found()->id;
  co_return true;
}

/// Whether this token made it.
bool exchange::is_ours(const sandbox_info* one) const {
  if (!one)
    return false;
  const auto at = one->spec.labels.find(mcp_server::session_label);
  return at != one->spec.labels.end() && at->second == token_.id;
}

/// One that an earlier request made: it must be this token's.
net::awaitable<bool> exchange::known_sandbox() {
  if (up_ && sandbox_ == wanted_ && !up_->ended())
    co_return true;
  api::request_body look = api::get{wanted_};
  co_await ask(look);
  if (is_ours(found()))
    co_return true;
  co_return no_session();
}

} // namespace caged::gateway_parts
