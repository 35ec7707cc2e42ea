// bench_mcp_floor: answers every line at once with the same reply. What driver,
// pipes and a process cost; a server cannot be faster.
#include <string>
#include <string_view>

#include <unistd.h>

int main() {
  const std::string text(1024, 'x');
  const std::string small = R"(,"result":{}})"
                            "\n";
  const std::string large = R"(,"result":{"content":[{"type":"text","text":")"
                            + text
                            + R"("}]}})"
                              "\n";
  std::string input, output;
  for (std::size_t looked_at = 0;;) {
    auto old = input.size();
    input.resize(old + 65536);
    auto n = ::read(0, input.data() + old, 65536);
    if (n <= 0)
      return 0;
    input.resize(old + std::size_t(n));
    std::size_t taken = 0;
    for (auto end = input.find('\n', looked_at); end != std::string::npos;
         end = input.find('\n', taken)) {
      std::string_view line{input.data() + taken, end - taken};
      taken = end + 1;
      constexpr std::string_view key = "\"id\":";
      auto at = line.substr(0, 64).find(key);
      if (at == std::string_view::npos)
        continue; // a notification
      auto id = line.substr(at + key.size());
      output += R"({"jsonrpc":"2.0","id":)";
      output += id.substr(0, id.find(','));
      bool call = line.find("\"tools/call\"") != std::string_view::npos;
      output += call ? large : small;
    }
    input.erase(0, taken);
    looked_at = input.size();
    for (std::size_t sent = 0; sent < output.size();) {
      auto wrote = ::write(1, output.data() + sent, output.size() - sent);
      if (wrote <= 0)
        return 1;
      sent += std::size_t(wrote);
    }
    output.clear();
  }
}
