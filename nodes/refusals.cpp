#include "nodes/refusals.hpp"

#include "messages/text.hpp"
#include "nodes/logging.hpp"

namespace caged {

namespace {

constexpr auto interval = std::chrono::seconds(10);
constexpr int lines_most = 5; // a reason and interval

} // namespace

void refusals::add(std::string_view reason, const std::string& who,
                   const std::string& where) {
  if (metrics_)
    metrics_->client_refused(reason);
  auto& now = windows_[std::string{reason}];
  const auto time = std::chrono::steady_clock::now();
  if (time - now.since > interval) {
    now.since = time;
    now.said = 0;
  }
  if (now.said >= lines_most) {
    ++now.left_out;
    return;
  }
  ++now.said;
  std::vector<std::pair<std::string, std::string>> fields = {
      {"reason", std::string{reason}},
      {"from", where.empty() ? "unknown" : escape_text(where)}};
  if (!who.empty())
    fields.emplace_back("who", escape_text(who));
  if (now.left_out > 0)
    fields.emplace_back("lines_left_out", std::to_string(now.left_out));
  now.left_out = 0;
  log_event("client_refused", fields);
}

} // namespace caged
