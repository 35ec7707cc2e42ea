#include "tests/support/asker.hpp"

#include <iostream>

#include "messages/key_file.hpp"
#include "messages/text.hpp"

namespace caged::test {

namespace {

/// What belongs to a stream is never answered, if it may be said at all.
bool is_silent(const api::request_body& body) {
  return std::holds_alternative<api::stream_data>(body)
         || std::holds_alternative<api::stream_ack>(body)
         || std::holds_alternative<api::stream_credit>(body)
         || std::holds_alternative<api::stream_eof>(body)
         || std::holds_alternative<api::exec_signal>(body)
         || std::holds_alternative<api::exec_resize>(body)
         || std::holds_alternative<api::client_gone>(body);
}

api::request fresh(api::request_body body) {
  api::request out;
  out.id = make_uuid();
  out.remaining = 30s;
  out.body = std::move(body);
  return out;
}

} // namespace

bool asker::answer::denied() const {
  const auto* error = body ? std::get_if<api::error_reply>(&*body) : nullptr;
  return error && error->why.code == ec::denied;
}

std::string asker::answer::text() const {
  if (!body)
    return "no answer";
  if (const auto* error = std::get_if<api::error_reply>(&*body))
    return std::string{to_string(error->why.code)} + ": " + error->why.message
           + " (" + error->why.hint + ") [" + error->sandbox + "]";
  return "answer " + std::to_string(body->index());
}

asker::asker(const person& who) {
  cli::node_address to{who.endpoint};
  to.endpoints.front().server_key = who.server_key;
  const auto keys = read_secret_key(who.key_file());
  if (!keys) {
    std::cerr << keys.error().message << "\n";
    return;
  }
  to.key = *keys;
  eventually(20s, [&] {
    auto opened = cli::connection::open(to);
    if (opened)
      connection_ = std::move(*opened);
    return opened.has_value();
  });
}

asker::answer asker::ask(api::request_body body) {
  const bool silent = is_silent(body);
  const auto asked = fresh(std::move(body));
  const auto behind = fresh(api::hello{"behind"});
  answer out;
  out.id = asked.id;
  connection_->send(asked);
  if (silent)
    connection_->send(behind);
  eventually(patient(30s), [&] {
    cli::wait_for(*connection_, 100ms);
    for (;;) {
      auto got = connection_->receive();
      if (!got) { // said about the connection, whatever was asked
        out.body = api::error_reply{got.error(), {}, {}};
        return true;
      }
      if (!*got)
        return connection_->lost();
      const bool ours =
          (*got)->id == asked.id
          && !std::holds_alternative<api::up_progress>((*got)->body);
      if (ours)
        out.body = std::move((*got)->body);
      if (ours || (*got)->id == behind.id)
        return true;
    }
  });
  return out;
}

} // namespace caged::test
