#include <catch2/catch.hpp>

#include "cli/exec_stream.hpp"

using namespace caged;
using api::channel;
using cli::exec_stream;

namespace {

bool take(exec_stream& s, api::reply_body body) {
  return s.take(body).has_value();
}

template <class T>
std::vector<T> sent(exec_stream& s) {
  std::vector<T> out;
  for (auto& body : s.outgoing())
    if (auto* right = std::get_if<T>(&body))
      out.push_back(*right);
  return out;
}

exec_stream started() {
  exec_stream s{api::exec{}};
  s.attach();
  take(s, api::exec_started{"cage-abcdefgh", 7, true});
  return s;
}

} // namespace

TEST_CASE("output is acknowledged when it is written, not when it comes") {
  auto s = started();
  REQUIRE(take(s, api::stream_data{channel::out, 0, "hello"}));
  CHECK(s.outgoing().empty());
  CHECK(s.pending(channel::out) == "hello");
  s.written(channel::out, 2);
  s.written(channel::out, 3);
  auto acks = sent<api::stream_ack>(s);
  REQUIRE(acks.size() == 1);
  CHECK(acks[0].offset == 5);
}

TEST_CASE("a paused reader gets no more than its window") {
  auto s = started();
  std::uint64_t offset = 0;
  while (offset < limits::window_default) {
    REQUIRE(take(s, api::stream_data{channel::out, offset,
                                     std::string(limits::frame_max, 'x')}));
    offset += limits::frame_max;
    CHECK(s.outgoing().empty()); // no credit
  }
  CHECK_FALSE(take(s, api::stream_data{channel::out, offset, "x"}));
}

TEST_CASE("repeats are dropped, overlaps are trimmed, gaps are refused") {
  auto s = started();
  REQUIRE(take(s, api::stream_data{channel::err, 0, "abc"}));
  REQUIRE(take(s, api::stream_data{channel::err, 0, "abc"}));
  REQUIRE(take(s, api::stream_data{channel::err, 1, "bcd"}));
  std::string all;
  for (auto more = s.pending(channel::err); !more.empty();
       more = s.pending(channel::err)) {
    all += more;
    s.written(channel::err, more.size());
  }
  CHECK(all == "abcd");
  CHECK_FALSE(take(s, api::stream_data{channel::err, 9, "x"}));
}

TEST_CASE("stdin waits for credit and is sent again after a loss") {
  auto s = started();
  CHECK(s.stdin_room() == 0);
  REQUIRE(take(s, api::stream_credit{channel::in, 10}));
  CHECK(s.stdin_room() == 10);
  s.stdin_bytes("0123456789");
  CHECK(s.stdin_room() == 0);
  CHECK(sent<api::stream_data>(s).size() == 1);
  REQUIRE(take(s, api::stream_ack{channel::in, 4}));
  s.attach();
  CHECK(sent<api::stream_data>(s).empty()); // no credit yet
  take(s, api::exec_started{"cage-abcdefgh", 7, false});
  REQUIRE(take(s, api::stream_ack{channel::in, 6}));
  REQUIRE(take(s, api::stream_credit{channel::in, 20}));
  auto again = sent<api::stream_data>(s);
  REQUIRE(again.size() == 1);
  CHECK(again[0].offset == 6);
  CHECK(again[0].bytes == "6789");
  s.stdin_end();
  auto end = sent<api::stream_eof>(s);
  REQUIRE(end.size() == 1);
  CHECK(end[0].offset == 10);
  CHECK_FALSE(take(s, api::stream_ack{channel::in, 11}));
}

TEST_CASE("a new attachment names what was received") {
  auto s = started();
  take(s, api::stream_data{channel::out, 0, "abcdef"});
  s.written(channel::out, 2);
  auto again = s.attach();
  CHECK(again.stdout_offset == 6);
  CHECK(again.stdout_credit >= 6);
  CHECK(s.pending(channel::out) == "cdef");
}

TEST_CASE("the end comes when the exit is there and all is written") {
  auto s = started();
  take(s, api::stream_data{channel::out, 0, "x"});
  take(s, api::stream_eof{channel::out, 1});
  take(s, api::stream_eof{channel::err, 0});
  take(s, api::exec_exit{7, 0, "exited"});
  CHECK_FALSE(s.finished());
  s.written(channel::out, 1);
  CHECK(s.finished());
  CHECK(s.exit()->code == 7);
}

TEST_CASE("what nobody reads is dropped and never holds the command up") {
  auto s = started();
  s.discard(channel::out);
  std::uint64_t offset = 0;
  for (int i = 0; i < 100; ++i) {
    REQUIRE(take(s, api::stream_data{channel::out, offset,
                                     std::string(limits::frame_max, 'x')}));
    offset += limits::frame_max;
    s.outgoing();
  }
  CHECK(s.pending(channel::out).empty());
}
