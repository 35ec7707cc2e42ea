#include "mcp/ws_sessions.hpp"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

namespace caged::mcp {

namespace {

constexpr std::size_t least_id = 16, most_id = 128;
constexpr std::string_view id_form =
    "session must be 16 to 128 letters, digits, - or _, chosen at random";
constexpr std::string_view received_form =
    "received must be a number from 0 on: the messages of this session that "
    "you have had";
constexpr std::string_view next_form =
    "next must be a number from 1 on: that of the first message that you will "
    "send";

bool is_id(std::string_view text) {
  return text.size() >= least_id && text.size() <= most_id
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                     || (c >= '0' && c <= '9') || c == '-' || c == '_';
            });
}

/// At most 18 digits: sums of such numbers do not overflow.
std::optional<std::uint64_t> number(std::string_view text) {
  constexpr std::size_t most_digits = 18;
  std::uint64_t out = 0;
  const auto* end = text.data() + text.size();
  const auto done = std::from_chars(text.data(), end, out);
  if (text.size() > most_digits || done.ec != std::errc{} || done.ptr != end)
    return std::nullopt;
  return out;
}

std::string between(std::uint64_t from, std::uint64_t to) {
  return "messages " + std::to_string(from) + " to " + std::to_string(to);
}

} // namespace

result<resume_request> parse_resume(std::string_view target) {
  resume_request out;
  const auto mark = target.find('?');
  auto rest = mark == std::string_view::npos ? std::string_view{}
                                             : target.substr(mark + 1);
  std::optional<std::string_view> id, received, next;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('&'), rest.size());
    const auto one = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto equals = std::min(one.find('='), one.size());
    const auto name = one.substr(0, equals);
    auto* to = name == "session"    ? &id
               : name == "received" ? &received
               : name == "next"     ? &next
                                    : nullptr;
    if (to == nullptr)
      continue;
    if (*to)
      return fail(ec::bad_request,
                  std::string{name} + " must be there once, not twice");
    *to = one.substr(std::min(equals + 1, one.size()));
  }
  if (!id)
    return out;
  if (!is_id(*id))
    return fail(ec::bad_request, std::string{id_form});
  out.id = *id;
  if (received) {
    const auto value = number(*received);
    if (!value)
      return fail(ec::bad_request, std::string{received_form});
    out.received = *value;
  }
  if (next) {
    out.next = number(*next);
    if (out.next.value_or(0) == 0)
      return fail(ec::bad_request, std::string{next_form});
  }
  return out;
}

resumable_outbox::resumable_outbox(web_budget& budget)
    : budget_{budget}, log_{budget} {
  log_.open(0);
}

bool resumable_outbox::send(std::string message) {
  const auto here = std::this_thread::get_id() == io_;
  std::unique_lock guard{lock_};
  if (!here)
    while (!ended_ && wake_ && bytes_ > 0
           && (bytes_ + message.size() > budget_.outbox()
               || budget_.short_of_memory()))
      // Room that others give back is not announced here: hence the time.
      room_.wait_for(guard, std::chrono::milliseconds{100});
  if (ended_)
    return false;
  // Numbered, kept and queued at once: the order is the same everywhere.
  auto text = std::make_shared<const std::string>(std::move(message));
  log_.add({{0, ++last_}, text});
  if (!wake_)
    return true;
  push(std::move(text));
  if (!woken_ && !(here && corked_)) {
    woken_ = true;
    wake_(); // Under the lock, so that close() knows that it is over.
  }
  return true;
}

void resumable_outbox::push(std::shared_ptr<const std::string> text) {
  bytes_ += text->size();
  budget_.waiting(text->size());
  pending_.push_back(std::move(text));
}

bool resumable_outbox::take(std::string& message) {
  std::lock_guard guard{lock_};
  woken_ = false;
  if (pending_.empty())
    return false;
  message = *pending_.front();
  pending_.pop_front();
  return true;
}

void resumable_outbox::written(std::size_t bytes) {
  {
    std::lock_guard guard{lock_};
    const auto less = std::min(bytes, bytes_); // close() gave all of it back
    bytes_ -= less;
    budget_.written(less);
  }
  room_.notify_all();
}

bool resumable_outbox::full() const {
  std::lock_guard guard{lock_};
  return bytes_ > budget_.outbox() || (bytes_ > 0 && budget_.short_of_memory());
}

bool resumable_outbox::empty() const {
  std::lock_guard guard{lock_};
  return bytes_ == 0;
}

void resumable_outbox::drop_pending() {
  pending_.clear();
  budget_.written(bytes_);
  bytes_ = 0;
  wake_ = nullptr;
  woken_ = false;
}

void resumable_outbox::close() {
  {
    std::lock_guard guard{lock_};
    drop_pending();
  }
  room_.notify_all();
}

std::optional<std::uint64_t>
resumable_outbox::attach(std::uint64_t received, std::function<void()> wake) {
  {
    std::lock_guard guard{lock_};
    auto missed = log_.after({0, received});
    if (!missed)
      return last_ + 1 - log_.kept(0);
    drop_pending(); // an older connection's
    wake_ = std::move(wake);
    for (auto& event : *missed)
      push(std::move(event.text));
    if (!pending_.empty()) {
      woken_ = true;
      wake_();
    }
  }
  room_.notify_all();
  return std::nullopt;
}

std::uint64_t resumable_outbox::last() const {
  std::lock_guard guard{lock_};
  return last_;
}

void resumable_outbox::end() {
  {
    std::lock_guard guard{lock_};
    if (ended_)
      return;
    ended_ = true;
    drop_pending();
  }
  room_.notify_all();
}

ws_sessions::outcome ws_sessions::attach(
    const resume_request& asked, listener by,
    const std::function<std::shared_ptr<session>(std::shared_ptr<outlet>)>&
        make,
    clock::time_point now) {
  outcome out;
  if (const auto at = all_.find(asked.id); at != all_.end()) {
    out = resume(at->second, asked, std::move(by));
    if (out.code != 0)
      at->second->lost = now; // so that the client may ask again
    return out;
  }
  if (asked.received > 0 || asked.next.value_or(1) > 1) {
    out.code = resume_code::no_session;
    out.reason = "no such session, or it ended: messages after "
                 + std::to_string(asked.received) + " are lost";
    return out;
  }
  if (all_.size() >= most_)
    return out;
  out.of = std::make_shared<ws_session>();
  out.of->id = asked.id;
  out.of->out = std::make_shared<resumable_outbox>(budget_);
  out.of->of = make(out.of->out);
  out.of->evict = std::move(by.evicted);
  out.of->out->attach(0, std::move(by.wake));
  out.fresh = true;
  all_.emplace(asked.id, out.of);
  budget_.resumable_sessions(all_.size());
  return out;
}

ws_sessions::outcome ws_sessions::resume(const std::shared_ptr<ws_session>& one,
                                         const resume_request& asked,
                                         listener by) {
  outcome out;
  out.of = one;
  const auto sent = one->out->last();
  const auto expected = one->received + 1;
  const auto next = asked.next.value_or(expected);
  if (asked.received > sent) {
    out.code = resume_code::never_sent;
    out.reason = "received is " + std::to_string(asked.received) + ", but only "
                 + std::to_string(sent) + " messages were sent";
    return out;
  }
  if (next > expected) {
    out.code = resume_code::gap;
    out.reason = between(expected, next - 1) + " never arrived";
    return out;
  }
  if (const auto kept = one->out->attach(asked.received, std::move(by.wake))) {
    out.code = resume_code::gap;
    out.reason =
        between(asked.received + 1, *kept - 1) + " are not kept any more";
    return out;
  }
  out.skip = expected - next;
  // The old connection must not touch the session any more: what it has not
  // handed over by now has not arrived.
  if (const auto evict = std::exchange(one->evict, std::move(by.evicted)))
    evict();
  return out;
}

void ws_sessions::detach(ws_session& one, clock::time_point now) {
  one.evict = nullptr;
  one.lost = now;
  one.out->close();
}

void ws_sessions::end(const std::shared_ptr<ws_session>& one) {
  const auto at = all_.find(one->id);
  if (at == all_.end() || at->second != one)
    return;
  all_.erase(at);
  budget_.resumable_sessions(all_.size());
  one->evict = nullptr;
  one->out->end(); // first: a worker that waits for room goes on
  one->of->close();
}

void ws_sessions::expire(clock::time_point now,
                         std::chrono::milliseconds grace) {
  std::vector<std::shared_ptr<ws_session>> over;
  for (const auto& [id, each] : all_) {
    each->out->trim();
    if (!each->evict && now - each->lost >= grace)
      over.push_back(each);
  }
  for (const auto& each : over)
    end(each);
}

void ws_sessions::end_all() {
  while (!all_.empty())
    end(std::shared_ptr<ws_session>{all_.begin()->second});
}

std::size_t ws_sessions::busy() const {
  std::size_t sum = 0;
  for (const auto& [id, each] : all_)
    sum += each->of->busy();
  return sum;
}

} // namespace caged::mcp
