#include "nodes/gateway/upstream.hpp"

#include <algorithm>
#include <utility>

#include "messages/text.hpp"
#include "nodes/gateway/gateway.hpp"

namespace caged::gateway_parts {

void node_link::add(const std::shared_ptr<upstream>& one) {
  all_[one->id_] = one;
}

void node_link::deliver(api::reply& message) {
  const auto at = all_.find(message.id);
  if (at == all_.end())
    return; // its connection is gone
  if (const auto one = at->second.lock())
    one->on_reply(message.body);
}

upstream::upstream(node_link& node, std::function<void()> changed)
    : node_{node},
      changed_{std::move(changed)},
      id_{make_uuid()},
      route_{std::string{gateway::route_prefix} + id_} {}

upstream::~upstream() {
  close();
}

void upstream::ask(api::request_body body, const std::string& caller,
                   bool admin) {
  node_.add(shared_from_this());
  asked_ = true;
  api::request out;
  out.route = route_;
  out.id = id_;
  out.caller = caller;
  out.admin = admin;
  out.body = std::move(body);
  node_.send(std::move(out));
}

void upstream::post(api::request_body body) {
  api::request out;
  out.route = route_;
  out.id = id_;
  out.body = std::move(body);
  node_.send(std::move(out));
}

void upstream::write(std::string& bytes) {
  while (!bytes.empty() && open_ && !ended_ && sent_ < credit_) {
    const auto size = std::min({bytes.size(), limits::frame_max,
                                static_cast<std::size_t>(credit_ - sent_)});
    post(api::stream_data{api::channel::in, sent_, bytes.substr(0, size)});
    sent_ += size;
    bytes.erase(0, size);
  }
}

void upstream::consumed(std::size_t bytes) {
  consumed_ += bytes;
  if (ended_ || closed_)
    return;
  // Not for every few bytes: the window is far larger than this.
  constexpr std::uint64_t step = limits::window_default / 4;
  if (consumed_ + limits::window_default < granted_ + step)
    return;
  granted_ = consumed_ + limits::window_default;
  post(api::stream_ack{api::channel::out, consumed_});
  post(api::stream_credit{api::channel::out, granted_});
}

void upstream::on_reply(api::reply_body& body) {
  if (closed_)
    return;
  if (auto* data = std::get_if<api::stream_data>(&body)) {
    if (data->on == api::channel::out && data->offset == had_) {
      had_ += data->bytes.size();
      in += data->bytes;
    }
  } else if (auto* credit = std::get_if<api::stream_credit>(&body)) {
    credit_ = std::max(credit_, credit->limit);
  } else if (std::holds_alternative<api::exec_started>(body)) {
    open_ = true;
  } else if (auto* why = std::get_if<api::error_reply>(&body)) {
    error_ = std::move(*why);
    ended_ = true;
  } else if (std::holds_alternative<api::exec_exit>(body)) {
    post(api::stream_ack{api::channel::exit, 0});
    ended_ = true;
  } else if (std::holds_alternative<api::stream_eof>(body)) {
    end();
  } else if (!std::holds_alternative<api::up_progress>(body)
             && !std::holds_alternative<api::stream_ack>(body)) {
    answer_ = std::move(body);
    open_ = ended_ = true;
  }
  if (changed_)
    changed_();
}

/// The server has ended its side: so do we, there is nobody to answer.
void upstream::end() {
  if (ended_)
    return;
  ended_ = true;
  post(api::stream_ack{api::channel::exit, 0});
}

void upstream::close() {
  if (std::exchange(closed_, true))
    return;
  changed_ = nullptr;
  node_.remove(id_);
  if (!asked_)
    return;
  if (open_ && !ended_)
    post(api::stream_ack{api::channel::exit, 0});
  else if (!ended_)
    node_.gone(route_); // it is not decided yet
  ended_ = true;
}

} // namespace caged::gateway_parts
