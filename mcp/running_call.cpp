#include <algorithm>
#include <array>

#include "mcp/session_impl.hpp"

namespace caged::mcp {

namespace {
constexpr std::array<std::string_view, 8> level_names = {
    "debug", "info",     "notice", "warning",
    "error", "critical", "alert",  "emergency"};
}

std::optional<log_level> log_level_from(std::string_view name) noexcept {
  for (std::size_t i = 0; i < level_names.size(); ++i)
    if (level_names[i] == name)
      return static_cast<log_level>(i);
  return std::nullopt;
}

std::string_view to_string(log_level level) noexcept {
  return level_names[static_cast<std::size_t>(level)];
}

bool rate_limit::take() {
  const auto now = std::chrono::steady_clock::now();
  left_ = std::min(
      burst_,
      left_ + a_second_ * std::chrono::duration<double>(now - last_).count());
  last_ = now;
  if (left_ < 1)
    return false;
  left_ -= 1;
  return true;
}

running_call::running_call(std::shared_ptr<client_session> s, request r)
    : call{std::make_shared<cancellation>()},
      session{std::move(s)},
      of{std::move(r)} {
  const auto* token = meta_of(of.message, "progressToken");
  if (token != nullptr && (token->is_string() || token->is_number_integer()))
    token_ = *token;
  const auto* level = meta_of(of.message, "io.modelcontextprotocol/logLevel");
  if (level != nullptr && level->is_string())
    least_ = log_level_from(level->get_ref<const std::string&>());
}

bool running_call::may_tell(rate_limit& limit) {
  return !ended_ && !cancelled() && limit.take();
}

void running_call::progress(double done, std::optional<double> total,
                            std::string_view message) {
  if (token_.is_null())
    return;
  std::lock_guard lock{mutex_};
  if (done <= done_ || !may_tell(progress_rate_))
    return;
  done_ = done;
  json params = {{"progressToken", token_}, {"progress", done}};
  if (total)
    params["total"] = *total;
  // With 2025-03-26 came a message.
  if (!message.empty() && has_annotations(of.spoken))
    params["message"] = message;
  of.group->tell(notification("notifications/progress", to_text(params)));
}

void running_call::log(log_level level, std::string_view logger,
                       const json& data) {
  // 2026-07-28: only for requests that name a level.
  if (is_modern(of.spoken) ? !least_ || level < *least_
                           : level < session->least_level())
    return;
  std::lock_guard lock{mutex_};
  if (!may_tell(log_rate_))
    return;
  json params = {{"level", to_string(level)}, {"data", data}};
  if (!logger.empty())
    params["logger"] = logger;
  of.group->tell(notification("notifications/message", to_text(params)));
}

result<json> running_call::ask(std::string_view method, json params) {
  if (is_modern(of.spoken))
    return fail(ec::unsupported, "a client of this revision cannot be asked");
  return session->ask(*this, method, std::move(params));
}

process_table& running_call::processes() {
  std::lock_guard lock{mutex_};
  if (processes_ == nullptr)
    processes_ = session->processes();
  return *processes_;
}

bool running_call::end() {
  std::lock_guard lock{mutex_};
  ended_ = true;
  return !cancelled();
}

} // namespace caged::mcp
