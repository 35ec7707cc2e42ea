#include "tests/support/prometheus.hpp"

#include <array>
#include <cctype>
#include <stdexcept>

#include "tests/support/person.hpp"
#include "tests/unit/mcp/web_client.hpp"

namespace caged::test {

using nlohmann::json;

namespace {

std::string percent_encoded(const std::string& text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0)
      out += c;
    else
      (out += '%').append({digits[byte >> 4U], digits[byte & 15U]});
  }
  return out;
}

} // namespace

prometheus_server::prometheus_server(const std::string& config) {
  write_file(dir_ / "prometheus.yml", config);
  // Port 0 is not supported by Prometheus: a free one is looked for, which
  // somebody else may take meanwhile.
  constexpr int tries = 5;
  for (int i = 0; i < tries && !server_; ++i) {
    port_ = static_cast<std::uint16_t>(free_port());
    auto tried = std::make_unique<background>(std::vector<std::string>{
        "prometheus", "--config.file", dir_ / "prometheus.yml",
        "--storage.tsdb.path", dir_ / "data", "--web.listen-address",
        "127.0.0.1:" + std::to_string(port_)});
    if (eventually(20s, [&] { return !tried->alive() || ready(); })
        && tried->alive())
      server_ = std::move(tried);
    else
      log_ = tried->err();
  }
}

bool prometheus_server::ready() {
  return query("vector(1)").is_array();
}

json prometheus_server::get(const std::string& path, std::string* error) {
  try {
    web_client client{port_};
    client.send("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    auto answer = json::parse(client.response().body, nullptr, false);
    if (answer.is_object() && answer.value("status", "") == "success")
      return answer["data"];
    if (error)
      *error = answer.is_object() ? answer.value("error", "") : "no JSON";
  } catch (const std::runtime_error& e) {
    if (error)
      *error = e.what();
  }
  return nullptr;
}

json prometheus_server::query(const std::string& expression,
                              std::string* error) {
  auto data = get("/api/v1/query?query=" + percent_encoded(expression), error);
  return data.is_object() ? data["result"] : data;
}

std::optional<double> prometheus_server::value(const std::string& expression) {
  const auto got = query(expression);
  if (!got.is_array() || got.size() != 1 || !got[0].is_object())
    return {};
  return std::stod(got[0]["value"][1].get<std::string>());
}

} // namespace caged::test
