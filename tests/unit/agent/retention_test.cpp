#include "agent/retention.hpp"

#include <algorithm>
#include <array>
#include <memory>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <unistd.h>

#include "agent/unique_fd.hpp"

using namespace caged::agent;

namespace {

constexpr auto page = page_pool::page_size;

std::string bytes_of(std::uint64_t from, std::uint64_t to) {
  std::string out;
  for (auto i = from; i < to; ++i)
    out += static_cast<char>(i * 131 >> 4);
  return out;
}

std::string content(const retention& kept, std::uint64_t from,
                    std::uint64_t to) {
  std::array<iovec, 64> pieces;
  std::string out;
  while (from < to) {
    auto count = kept.gather(from, to, pieces.data(), pieces.size());
    REQUIRE(count > 0);
    for (std::size_t i = 0; i < count; ++i) {
      out.append(static_cast<char*>(pieces[i].iov_base), pieces[i].iov_len);
      from += pieces[i].iov_len;
    }
  }
  std::string copied(out.size(), '\0');
  kept.copy(to - out.size(), to, copied.data());
  CHECK(copied == out);
  return out;
}

} // namespace

TEST_CASE("retained bytes are given back whole, at any offsets") {
  page_pool pool{64};
  retention kept{pool};
  std::uint64_t end = 0, base = 0;
  std::uint32_t state = 1;
  auto random = [&](std::uint64_t below) {
    state = state * 1664525 + 1013904223;
    return below == 0 ? 0 : (state >> 8) % below;
  };
  for (int round = 0; round < 2000; ++round) {
    auto size = random(3 * page);
    auto added = kept.append(bytes_of(end, end + size).data(), size);
    CHECK(added == std::min<std::size_t>(size, added));
    end += added;
    REQUIRE(kept.end() == end);
    base += random(end - base + 1);
    kept.release(base);
    REQUIRE(kept.base() == base);
    auto from = base + random(end - base + 1);
    auto to = from + random(end - from + 1);
    REQUIRE(content(kept, from, to) == bytes_of(from, to));
    // Never more pages than the bytes need, at both ends one in part.
    REQUIRE(pool.size() - pool.free_pages() <= (end - base) / page + 2);
  }
  kept.release(end);
  CHECK(pool.free_pages() == pool.size());
}

TEST_CASE("an acknowledgement below what was released changes nothing") {
  page_pool pool{4};
  retention kept{pool};
  kept.append("0123456789", 10);
  kept.release(5);
  kept.release(3);
  CHECK(kept.base() == 5);
  CHECK(content(kept, 5, 10) == "56789");
}

TEST_CASE("one channel never takes what others need") {
  page_pool pool{32};
  std::string much(page * 64, 'x');
  retention greedy{pool};
  for (int i = 0; i < 10; ++i)
    greedy.append(much.data(), much.size());
  CHECK(greedy.allowance() == 0);
  CHECK(greedy.end() == page * 16);
  retention second{pool};
  CHECK(second.allowance() > 0);
  for (int i = 0; i < 10; ++i)
    second.append(much.data(), much.size());
  CHECK(second.end() > 0);
  retention third{pool};
  CHECK(third.allowance() > 0);
  // All pages taken: an empty one may have none, and says so.
  std::vector<std::unique_ptr<retention>> many;
  while (pool.free_pages() > 0) {
    many.push_back(std::make_unique<retention>(pool));
    REQUIRE(many.back()->append("x", 1) == 1);
  }
  CHECK(third.allowance() == 0);
  CHECK(third.append("x", 1) == 0);
  greedy.release(greedy.end());
  CHECK(third.append("x", 1) == 1);
}

TEST_CASE("a pipe is read straight into pages, its end and lack of room told") {
  int fds[2];
  REQUIRE(::pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
  unique_fd in{fds[0]}, out{fds[1]};
  page_pool pool{8};
  retention kept{pool};
  errno = 0;
  CHECK(kept.fill(in.get(), 65536) == -1);
  CHECK(errno == EAGAIN);
  CHECK(pool.free_pages() == 8);
  auto text = bytes_of(0, 10000);
  REQUIRE(::write(out.get(), text.data(), text.size()) == 10000);
  CHECK(kept.fill(in.get(), 100) == 100);
  CHECK(kept.fill(in.get(), 65536) == 9900);
  CHECK(content(kept, 0, 10000) == text);
  REQUIRE(::write(out.get(), text.data(), text.size()) == 10000);
  while (kept.fill(in.get(), 65536) > 0) {
  }
  CHECK(errno == ENOBUFS);
  kept.release(kept.end());
  while (kept.fill(in.get(), 65536) > 0)
    kept.release(kept.end());
  CHECK(errno == EAGAIN);
  CHECK(kept.end() == 20000);
  out.reset();
  CHECK(kept.fill(in.get(), 65536) == 0);
}
