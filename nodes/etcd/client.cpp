#include "nodes/etcd/client.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace caged::etcd {

namespace {

using std::chrono::milliseconds;

/// Of connections to a member that nobody uses at the moment.
constexpr std::size_t most_idle = 8;
/// Between two rounds over all members.
constexpr milliseconds round_pause{100};

// google.rpc.Code
constexpr int cancelled = 1, unknown = 2, invalid = 3, deadline = 4,
              not_found = 5, denied = 7, exhausted = 8, precondition = 9,
              out_of_range = 11, internal = 13, unavailable = 14,
              unauthenticated = 16;

bool has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

/// A new token may help: it has expired, the members have restarted, or users
/// were changed (etcd 3.4, api/v3rpc/rpctypes/error.go).
bool wants_token(const refused& why) {
  const auto& text = why.why.message;
  return why.code == unauthenticated
         || (why.code == invalid
             && (has(text, "auth store is old")
                 || has(text, "user name is empty")));
}

/// Another member, or the same one later, may carry it out.
bool is_passing(const refused& why) {
  switch (why.code) {
  case 0:
  case cancelled:
  case unknown:
  case deadline:
  case internal:
  case unavailable:
    return true;
  case exhausted:
    return has(why.why.message, "too many requests");
  default:
    return wants_token(why);
  }
}

/// The members may have agreed on it all the same.
bool is_doubtful(int code, const std::string& text) {
  return (code == cancelled || code == unknown || code == deadline
          || code == internal || code == unavailable)
         && !has(text, "no leader");
}

ec code_for(int code) {
  switch (code) {
  case invalid:
    return ec::bad_request;
  case not_found:
    return ec::not_found;
  case denied:
  case precondition:
  case unauthenticated:
    return ec::denied;
  case exhausted:
    return ec::resource;
  case out_of_range:
    return ec::wrong_state;
  default:
    return ec::unavailable;
  }
}

refused refusal_of(const std::string& endpoint, const http_reply& reply) {
  auto said = wire::read_refusal(reply.body);
  if (said.code == 0) // no TLS, or a certificate that it does not like
    said.code =
        reply.status >= 400 && reply.status < 500 ? precondition : unavailable;
  refused out;
  out.code = said.code;
  out.doubtful = is_doubtful(said.code, said.text);
  out.why = {code_for(said.code), "etcd at " + endpoint + ": " + said.text, {}};
  if (said.code == exhausted)
    out.why.hint = "compact and defragment it, then disarm its alarm";
  else if (out.why.code == ec::denied)
    out.why.hint =
        has(said.text, "CommonName")
            ? "use a client certificate whose subject has no common name"
            : "check TLS, the user, its role and the password file";
  return out;
}

} // namespace

client::client(etcd_options options, std::shared_ptr<dialer> with)
    : options_{std::move(options)},
      with_{std::move(with)},
      idle_(options_.endpoints.size()) {}

answered<answer> client::call(const std::string& path,
                              const std::string& body) {
  const bool was_away = away_;
  const auto end =
      steady::now()
      + (was_away ? std::min(options_.call_timeout + options_.call_timeout / 4,
                             options_.total_timeout)
                  : options_.total_timeout);
  bool doubtful = false;
  std::optional<refused> last; // that was not cut short by the end
  std::size_t at = first_;
  for (std::size_t tried = 1;; ++tried, at = (at + 1) % members()) {
    auto got = once(at, path, body, end);
    if (got) {
      first_ = at;
      away_ = false;
      return answer{std::move(*got), doubtful};
    }
    auto& why = got.error();
    doubtful = doubtful || why.doubtful;
    if (!is_passing(why)) { // it has answered
      first_ = at;
      away_ = false;
      why.doubtful = doubtful && why.code != not_found;
      return tl::unexpected<refused>(std::move(why));
    }
    const bool over = steady::now() >= end;
    if (!over || !last)
      last = std::move(why);
    const bool round = tried % members() == 0;
    if (stopping_ || (was_away && round) || over) {
      away_ = true;
      first_ = (at + 1) % members();
      return tl::unexpected<refused>(
          refused{silent(*last), doubtful, last->code});
    }
    if (round)
      pause(round_pause);
  }
}

failure client::silent(const refused& last) const {
  return {ec::unavailable, "etcd is away (" + last.why.message + ")",
          "try again; etcdctl endpoint health shows its members"};
}

answered<std::string> client::ask(std::size_t member, const std::string& path,
                                  const std::string& body) {
  return once(member, path, body, steady::now() + options_.call_timeout);
}

client::attempt client::once(std::size_t member, const std::string& path,
                             const std::string& body, steady::time_point end) {
  std::string with;
  for (int renewed = 0;; ++renewed) {
    if (!options_.user.empty()) {
      auto got = token(member, with, end);
      if (!got)
        return got;
      with = std::move(*got);
    }
    auto out = exchange(member, path, body, with, end);
    if (out || options_.user.empty() || !wants_token(out.error())
        || renewed == 1)
      return out;
  }
}

client::attempt client::exchange(std::size_t member, const std::string& path,
                                 const std::string& body,
                                 const std::string& with,
                                 steady::time_point end) {
  if (stopping_)
    return tl::unexpected<refused>(
        refused{{ec::unavailable, "the store is closing", {}}});
  std::unique_ptr<connection> link;
  {
    std::lock_guard guard{mutex_};
    auto& idle = idle_[member];
    if (!idle.empty()) {
      link = std::move(idle.back());
      idle.pop_back();
    }
  }
  const auto& endpoint = options_.endpoints[member];
  if (!link)
    link = make_connection(with_, endpoint);
  auto got = link->post(path, body, with,
                        std::min(end, steady::now() + options_.call_timeout));
  std::lock_guard guard{mutex_};
  if (!got) {
    idle_[member].clear(); // as dead as this one, most likely
    return tl::unexpected<refused>(
        refused{std::move(got.error().why), got.error().sent});
  }
  if (idle_[member].size() < most_idle)
    idle_[member].push_back(std::move(link));
  if (got->status != 200)
    return tl::unexpected<refused>(refusal_of(endpoint.text(), *got));
  return std::move(got->body);
}

answered<std::string> client::token(std::size_t member,
                                    const std::string& stale,
                                    steady::time_point end) {
  std::unique_lock guard{token_mutex_, std::defer_lock};
  if (!guard.try_lock_until(end))
    return tl::unexpected<refused>(
        refused{{ec::unavailable, "no token from etcd in time", {}}});
  if (!token_.empty() && token_ != stale)
    return token_;
  token_.clear();
  auto password = read_secret(options_.password_file, "the etcd password file");
  if (!password)
    return tl::unexpected<refused>(
        refused{password.error(), false, denied}); // final
  if (password->ends_with('\n'))
    password->pop_back();
  auto got =
      exchange(member, "/v3/auth/authenticate",
               wire::write_authenticate(options_.user, *password), {}, end);
  if (!got) {
    got.error().doubtful = false; // what it is for was not sent
    if (got.error().code == invalid || got.error().code == precondition)
      got.error().code = denied; // final
    if (got.error().code == denied)
      got.error().why.code = ec::denied;
    return got;
  }
  auto fresh = wire::read_token(*got);
  if (!fresh)
    return tl::unexpected<refused>(refused{fresh.error(), false, denied});
  token_ = std::move(*fresh);
  return token_;
}

void client::forget_token() {
  std::lock_guard guard{token_mutex_};
  token_.clear();
}

result<void> client::open_stream(std::size_t member, const std::string& path,
                                 const std::string& body, std::mutex& guard,
                                 std::shared_ptr<connection>& out) {
  const auto end = steady::now() + options_.call_timeout;
  std::string with;
  if (!options_.user.empty()) {
    auto got = token(member, {}, end);
    if (!got)
      return tl::unexpected<failure>(got.error().why);
    with = std::move(*got);
  }
  std::shared_ptr<connection> link =
      make_connection(with_, options_.endpoints[member]);
  {
    std::lock_guard busy{guard};
    out = link;
    if (stopping_)
      link->cancel();
  }
  return link->open_stream(path, body, with, end);
}

void client::stop() {
  {
    std::lock_guard guard{mutex_};
    stopping_ = true;
  }
  stop_.notify_all();
}

void client::pause(milliseconds time) {
  std::unique_lock guard{mutex_};
  stop_.wait_for(guard, time, [this] { return stopping_.load(); });
}

} // namespace caged::etcd
