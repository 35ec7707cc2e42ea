#include "mcp/helper_thread.hpp"

#include <atomic>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/support/process.hpp"

using namespace caged::mcp;
using caged::test::eventually;

TEST_CASE("each piece of a range is done once, with and without a helper") {
  helper_thread helper;
  for (auto* with : {&helper, static_cast<helper_thread*>(nullptr)})
    for (const std::size_t n : {0U, 1U, 31U, 32U, 33U, 5000U})
      for (int turn = 0; turn < 50; ++turn) {
        std::vector<std::atomic<int>> done(n);
        each_range(with, n, 32, [&](std::size_t from, std::size_t to) {
          for (; from < to; ++from)
            ++done[from];
        });
        bool once = true;
        for (const auto& each : done)
          once = once && each == 1;
        REQUIRE(once);
      }
}

TEST_CASE("a helper works beside its caller") {
  helper_thread helper;
  std::atomic<int> here{0};
  helper.both([&] { // each waits for the other
    ++here;
    eventually(std::chrono::seconds{20}, [&] { return here == 2; });
  });
  CHECK(here == 2);
}
