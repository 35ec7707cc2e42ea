#include <algorithm>

#include "mcp/log.hpp"
#include "mcp/session_impl.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {
constexpr auto version_key = "io.modelcontextprotocol/protocolVersion";
constexpr auto capabilities_key = "io.modelcontextprotocol/clientCapabilities";
} // namespace

const json* meta_of(const incoming& message, std::string_view key) {
  auto meta = message.params.find("_meta");
  if (meta == message.params.end() || !meta->is_object())
    return nullptr;
  auto at = meta->find(key);
  return at == meta->end() ? nullptr : &*at;
}

std::string version_of(const incoming& message) {
  const auto* version = meta_of(message, version_key);
  return version != nullptr && version->is_string()
             ? version->get<std::string>()
             : std::string{};
}

std::shared_ptr<session> session::make(server& of,
                                       std::shared_ptr<outlet> events) {
  return make(of, std::move(events), nullptr);
}

std::shared_ptr<session> session::make(server& of,
                                       std::shared_ptr<outlet> events,
                                       std::shared_ptr<process_table> shared) {
  return std::make_shared<client_session>(of, std::move(events),
                                          std::move(shared));
}

client_session::client_session(server& of, std::shared_ptr<outlet> events,
                               std::shared_ptr<process_table> shared)
    : server_{of.self()},
      events_{std::move(events)},
      processes_{std::move(shared)} {}

client_session::~client_session() = default;

std::shared_ptr<client_session> client_session::self() {
  return std::static_pointer_cast<client_session>(shared_from_this());
}

void client_session::events(std::shared_ptr<outlet> to) {
  std::lock_guard lock{mutex_};
  events_ = std::move(to);
}

std::string client_session::revision() const {
  std::lock_guard lock{mutex_};
  return revision_ ? std::string{to_string(*revision_)} : std::string{};
}

std::size_t client_session::busy() const {
  return busy_.load(std::memory_order_acquire);
}

std::shared_ptr<process_table> client_session::processes() {
  std::lock_guard lock{mutex_};
  // After close() a call that still runs has one that goes with it.
  if (closed_)
    return std::make_shared<process_table>();
  if (processes_ == nullptr)
    processes_ = std::make_shared<process_table>();
  return processes_;
}

void client_session::close() {
  std::shared_ptr<process_table> processes;
  std::map<std::string, subscription> subscriptions;
  {
    std::lock_guard lock{mutex_};
    closed_ = true;
    for (auto& [id, each] : calls_)
      each->cancel().cancel();
    calls_.clear();
    subscriptions.swap(subscriptions_);
    processes.swap(processes_);
    events_ = nullptr;
  }
  answered_.notify_all();
  for (auto& [id, each] : subscriptions)
    each.group->drop();
}

void client_session::receive(incoming_text text,
                             std::shared_ptr<outlet> reply) {
  auto batch = text.batch;
  if (batch) {
    // JSON-RPC batches came with 2025-03-26 and left with 2025-06-18.
    std::unique_lock lock{mutex_};
    const auto known = revision_ && has_batches(*revision_);
    lock.unlock();
    if (!known) {
      reply->send(error_response(nullptr, rpc_code::invalid_request,
                                 "batches belong to 2025-03-26 alone: send "
                                 "each message by itself"));
      reply->finished();
      return;
    }
  }
  auto group = std::make_shared<reply_group>(std::move(reply), batch);
  for (auto& each : text.refusals)
    group->collect(std::move(each));
  for (auto& each : text.messages)
    handle(std::move(each), group);
  group->drop();
}

void client_session::handle(incoming&& message,
                            const std::shared_ptr<reply_group>& group) {
  if (message.kind == incoming::sort::notification)
    return on_notification(message);
  if (message.kind == incoming::sort::response)
    return on_response(std::move(message));
  group->expect();
  request r{std::move(message), {}, group};
  auto spoken = revision_for(r);
  if (!spoken)
    return;
  r.spoken = *spoken;
  auto method = methods().find(r.message.method);
  if (method == methods().end()
      || !(is_modern(*spoken) ? method->second.modern : method->second.legacy))
    return refuse(r, rpc_code::method_not_found,
                  "there is no method " + caged::quoted(r.message.method));
  (this->*method->second.run)(std::move(r));
}

std::optional<mcp::revision> client_session::revision_for(const request& r) {
  std::unique_lock lock{mutex_};
  const auto negotiated = revision_;
  lock.unlock();
  const auto* version = meta_of(r.message, version_key);
  if (version == nullptr) {
    if (negotiated)
      return negotiated;
    if (r.message.method == "initialize" || r.message.method == "ping")
      return revision::r2025_11_25;
    refuse(r, rpc_code::invalid_request,
           "not initialized: send initialize first, or the version of each "
           "request in its _meta (2026-07-28)");
    return std::nullopt;
  }
  if (!version->is_string()) {
    refuse(r, rpc_code::invalid_params,
           std::string{version_key} + " must be a string");
    return std::nullopt;
  }
  const auto asked = revision_from(version->get_ref<const std::string&>());
  // A client may go on to name the revision that initialize has settled.
  if (asked && negotiated && *asked == *negotiated)
    return negotiated;
  if (!asked || !is_modern(*asked)) {
    refuse(r, rpc_code::unsupported_version, "Unsupported protocol version",
           {{"supported", revisions()}, {"requested", *version}});
    return std::nullopt;
  }
  const auto* capabilities = meta_of(r.message, capabilities_key);
  if (capabilities == nullptr || !capabilities->is_object()) {
    refuse(r, rpc_code::invalid_params,
           std::string{"_meta must have an object "} + capabilities_key);
    return std::nullopt;
  }
  const auto* level = meta_of(r.message, "io.modelcontextprotocol/logLevel");
  if (level != nullptr
      && (!level->is_string()
          || !log_level_from(level->get_ref<const std::string&>()))) {
    refuse(r, rpc_code::invalid_params, "there is no such log level");
    return std::nullopt;
  }
  return asked;
}

void client_session::refuse(const request& r, int code, std::string_view why,
                            const json& data) {
  if (log::wants(log::level::debug))
    log::debug("refused", {{"method", escape_text(r.message.method, 128)},
                           {"code", code},
                           {"why", why}});
  r.group->answer(error_response(r.message.id, code, why, data));
}

void client_session::answer(const request& r, std::string_view members) {
  r.group->answer(result_response(r.message.id, r.spoken, members));
}

void client_session::on_notification(const incoming& message) {
  if (message.method != "notifications/cancelled")
    return; // initialized, roots/list_changed and others ask for nothing
  auto id = message.params.find("requestId");
  if (id == message.params.end()
      || (!id->is_string() && !id->is_number_integer()))
    return;
  const auto key = to_text(*id);
  std::unique_lock lock{mutex_};
  if (auto at = calls_.find(key); at != calls_.end()) {
    at->second->cancel().cancel();
    calls_.erase(at);
  } else if (auto heard = subscriptions_.find(key);
             heard != subscriptions_.end()) {
    auto group = std::move(heard->second.group);
    subscriptions_.erase(heard);
    lock.unlock();
    group->drop();
    return;
  }
  answered_.notify_all();
}

void client_session::on_response(incoming&& message) {
  if (!message.id.is_string())
    return;
  std::lock_guard lock{mutex_};
  auto at = asks_.find(message.id.get_ref<const std::string&>());
  if (at == asks_.end() || at->second)
    return;
  at->second = std::move(message.params);
  answered_.notify_all();
}

result<json> client_session::ask(running_call& by, std::string_view method,
                                 json params) {
  std::unique_lock lock{mutex_};
  const auto id = "caged-" + std::to_string(++asked_);
  asks_[id] = std::nullopt;
  lock.unlock();
  by.of.group->tell(to_text({{"jsonrpc", "2.0"},
                             {"id", id},
                             {"method", method},
                             {"params", std::move(params)}}));
  lock.lock();
  const auto in_time = answered_.wait_for(lock, std::chrono::minutes{5}, [&] {
    return asks_[id].has_value() || by.cancelled() || closed_;
  });
  auto answered = std::move(asks_[id]);
  asks_.erase(id);
  lock.unlock();
  if (!answered)
    return in_time ? fail(ec::unavailable, "the call was cancelled")
                   : fail(ec::timeout, "the client did not answer");
  if (auto error = answered->find("error"); error != answered->end())
    return fail(ec::bad_request, error->is_object()
                                     ? error->value("message", "refused")
                                     : "refused");
  return std::move((*answered)["result"]);
}

} // namespace caged::mcp
