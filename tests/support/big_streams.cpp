#include "tests/support/big_streams.hpp"

#include <filesystem>

#include <catch2/catch.hpp>

namespace caged::test {

namespace {

constexpr std::uint64_t allowance_kb = 8 * 1024;
constexpr std::uint64_t agent_most_kb = 3 * 1024; // DESIGN.md, section 10

std::string first_word(const std::string& text) {
  return text.substr(0, text.find_first_of(" \n"));
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

void check_big_streams(test_node& through, test_node& owner,
                       const std::string& id) {
  // Everything is warm before memory is read.
  REQUIRE(through.caged({"exec", id, "--", "true"}).exit == 0);
  const auto agent = owner.init_of(id);
  REQUIRE(agent > 0);
  const auto through_before = status_kb(through.pid(), "VmHWM"),
             owner_before = status_kb(owner.pid(), "VmHWM"),
             agent_before = status_kb(agent, "VmHWM");

  temp_dir dir;
  const auto blob = dir / "blob";
  REQUIRE(run({"sh", "-c", "head -c 300M /dev/urandom > " + blob}, within(120s))
              .exit
          == 0);
  const auto want = first_word(run({"sha256sum", blob}, within(60s)).out);
  // The command line's peak is read while it still runs: the command stays.
  const auto shell = [&](const std::string& inside, const std::string& ends) {
    return std::make_unique<background>(std::vector<std::string>{
        "sh", "-c",
        "CAGED_ENDPOINT=" + through.endpoint() + " exec " + bin_dir()
            + "/caged exec " + id + " -- sh -c '" + inside
            + "; exec sleep 1000' " + ends});
  };
  const auto idle = shell("echo ready", "");
  REQUIRE(eventually(20s, [&] { return has(idle->out(), "ready"); }));
  const auto cli_before = status_kb(idle->pid(), "VmHWM");
  REQUIRE(cli_before > 0);

  const auto in = shell("sha256sum", "< " + blob);
  CHECK(eventually(240s, [&] { return has(in->out(), "\n"); }));
  CHECK(first_word(in->out()) == want);
  const auto cli_in = status_kb(in->pid(), "VmHWM");

  const auto zeros = first_word(
      run({"sh", "-c", "head -c 300M /dev/zero | sha256sum"}, within(60s)).out);
  const auto got = dir / "got";
  const auto out = shell("head -c 314572800 /dev/zero", "> " + got);
  CHECK(eventually(240s, [&] {
    return std::filesystem::exists(got)
           && std::filesystem::file_size(got) == 300ULL * 1024 * 1024;
  }));
  const auto cli_out = status_kb(out->pid(), "VmHWM");
  CHECK(first_word(run({"sha256sum", got}, within(60s)).out) == zeros);
  CAPTURE(cli_before, cli_in, cli_out);
  CHECK(cli_in > 0);
  CHECK(cli_in <= cli_before + allowance_kb);
  CHECK(cli_out > 0);
  CHECK(cli_out <= cli_before + allowance_kb);

  const auto through_after = status_kb(through.pid(), "VmHWM"),
             owner_after = status_kb(owner.pid(), "VmHWM"),
             agent_after = status_kb(agent, "VmHWM");
  CAPTURE(through_before, through_after, owner_before, owner_after);
  CAPTURE(agent_before, agent_after);
  CHECK(through_after <= through_before + allowance_kb);
  CHECK(owner_after <= owner_before + allowance_kb);
  CHECK(agent_after > 0);
  CHECK(agent_after <= agent_most_kb);
}

} // namespace caged::test
