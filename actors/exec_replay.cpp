#include "actors/exec_replay.hpp"

#include <algorithm>

namespace caged {

exec_replay::exec_replay(std::shared_ptr<exec_logs> logs, std::string sandbox,
                         const std::string& exec, const api::exec& want)
    : logs_{std::move(logs)},
      sandbox_{std::move(sandbox)},
      sides_{side{api::channel::out, log_of(exec, api::channel::out),
                  want.stdout_offset, want.stdout_credit},
             side{api::channel::err, log_of(exec, api::channel::err),
                  want.stderr_offset, want.stderr_credit}} {}

std::string exec_replay::log_of(const std::string& exec, api::channel on) {
  return on == api::channel::err ? exec + "-err" : exec;
}

void exec_replay::credit(api::channel on, std::uint64_t limit) {
  for (auto& from : sides_)
    if (from.on == on)
      from.credit = std::max(from.credit, limit);
}

result<std::vector<api::reply_body>>
exec_replay::pump(const std::optional<api::exec_exit>& exit) {
  std::vector<api::reply_body> out;
  bool all_ended = true;
  for (auto& from : sides_) {
    while (!from.ended) {
      auto room = from.credit > from.next ? from.credit - from.next : 0;
      auto got = logs_->part(sandbox_, from.log, from.next,
                             std::min<std::uint64_t>(room, limits::frame_max));
      if (!got)
        return tl::unexpected<failure>(got.error());
      bool gap = got->offset > from.next;
      if (!got->bytes.empty() || gap)
        out.emplace_back(
            api::stream_data{from.on, got->offset, std::move(got->bytes)});
      else if (exit && from.next >= got->end) {
        out.emplace_back(api::stream_eof{from.on, from.next});
        from.ended = true;
      } else {
        break;
      }
      if (auto* data = std::get_if<api::stream_data>(&out.back()))
        from.next = data->offset + data->bytes.size();
      if (gap)
        break; // its credit starts anew behind the gap
    }
    all_ended = all_ended && from.ended;
  }
  if (exit && all_ended && !exit_sent_) {
    exit_sent_ = true;
    out.emplace_back(*exit);
  }
  return out;
}

} // namespace caged
