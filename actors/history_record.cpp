#include "actors/history_record.hpp"

#include <algorithm>
#include <limits>

#include "actors/record_json.hpp"
#include "messages/text.hpp"

namespace caged {

namespace {

using namespace record_json;

/// Kept of a history that is too long, as the journal does it.
constexpr std::size_t first_kept = 10;
/// For the digits of what was left out, and the comma of each cause.
constexpr std::size_t spare_bytes = 64;

json cause_json(const cause& what) {
  return {{"time_ms", what.time_ms},
          {"from", to_string(what.from)},
          {"to", to_string(what.to)},
          {"who", what.who},
          {"text", what.text}};
}

/// Of what is not a cause: all of it fits, however it is escaped.
std::string short_text_in(const json& from, const char* name) {
  constexpr std::size_t most_bytes = 256;
  auto out = text_in(from, name);
  if (out.size() > most_bytes)
    throw unreadable{name};
  return out;
}

phase phase_in(const json& from, const char* name) {
  const auto read = phase_from_string(text_in(from, name));
  if (!read)
    throw unreadable{name};
  return *read;
}

cause cause_in(const json& from) {
  if (!from.is_object())
    throw unreadable{"causes"};
  cause out;
  out.time_ms = time_in(from, "time_ms");
  out.from = phase_in(from, "from");
  out.to = phase_in(from, "to");
  out.who = text_in(from, "who");
  out.text = text_in(from, "text");
  return out;
}

std::size_t size_of(const cause& what) {
  return dump(cause_json(what)).size() + 1;
}

bool same(const cause& a, const cause& b) {
  return a.time_ms == b.time_ms && a.from == b.from && a.to == b.to
         && a.who == b.who && a.text == b.text;
}

} // namespace

bool operator==(const history_record& a, const history_record& b) {
  return a.sandbox == b.sandbox && a.node == b.node
         && a.node_name == b.node_name && a.owner == b.owner && a.name == b.name
         && a.template_name == b.template_name && a.runtime == b.runtime
         && a.takes == b.takes && a.state == b.state
         && a.created_ms == b.created_ms && a.changed_ms == b.changed_ms
         && a.left_out == b.left_out && a.cut_at == b.cut_at
         && std::equal(a.causes.begin(), a.causes.end(), b.causes.begin(),
                       b.causes.end(), same);
}

std::string history_key(std::string_view sandbox) {
  return "history/" + std::string{sandbox};
}

std::string past_key(std::string_view owner, std::string_view name) {
  std::string out = "past/";
  out += owner;
  out += '/';
  out += name;
  return out;
}

history_record head_of(const sandbox_record& from, const std::string& node,
                       const std::string& node_name) {
  history_record out;
  out.sandbox = from.id;
  out.node = node;
  out.node_name = node_name;
  out.owner = from.owner;
  out.name = from.spec.name;
  out.template_name = from.spec.template_name;
  out.runtime = from.spec.runtime;
  out.takes = {from.spec.cpus, from.spec.memory_mb, from.spec.disk_gb};
  out.state = from.state;
  out.created_ms = from.created_ms;
  out.changed_ms = from.changed_ms;
  return out;
}

bool is_over(const history_record& what) noexcept {
  return what.state == phase::destroyed || what.state == phase::lost;
}

void shorten(history_record& what) {
  if (encode(what).size() <= history_bytes_most)
    return;
  auto all = std::move(what.causes);
  const auto before = what.left_out;
  what.causes.clear();
  auto size = encode(what).size() + spare_bytes;
  const auto fits = [&](const cause& each) {
    const auto more = size_of(each);
    if (size + more > history_bytes_most)
      return false;
    size += more;
    return true;
  };
  // The newest before all others; then the first, as long as an earlier cut
  // does not say otherwise.
  const auto first =
      std::min(before == 0 ? first_kept : what.cut_at, all.size());
  std::size_t kept = 0;
  auto newest = all.size();
  if (newest > 0 && fits(all[newest - 1]))
    --newest;
  while (kept < first && kept < newest && fits(all[kept]))
    ++kept;
  while (newest > kept && fits(all[newest - 1]))
    --newest;
  what.left_out = before + (newest - kept);
  what.cut_at = kept;
  all.erase(all.begin() + static_cast<std::ptrdiff_t>(kept),
            all.begin() + static_cast<std::ptrdiff_t>(newest));
  what.causes = std::move(all);
}

std::vector<cause> told(const history_record& what) {
  std::vector<cause> out;
  for (std::size_t i = 0; i <= what.causes.size(); ++i) {
    if (what.left_out > 0 && i == what.cut_at) {
      const auto& near =
          what.causes.empty()
              ? cause{what.changed_ms, what.state, what.state, {}, {}}
              : what.causes[i == 0 ? 0 : i - 1];
      out.push_back({near.time_ms, near.to, near.to, "fleet",
                     std::to_string(what.left_out)
                         + (what.left_out == 1 ? " cause is" : " causes are")
                         + " left out here: the history was too long"});
    }
    if (i == what.causes.size())
      break;
    auto each = what.causes[i];
    each.who = escape_text(each.who, 128);
    each.text = escape_text(each.text);
    out.push_back(std::move(each));
  }
  return out;
}

std::string encode(const history_record& what) {
  json causes = json::array();
  for (const auto& each : what.causes)
    causes.push_back(cause_json(each));
  return dump({{"node", what.node},
               {"node_name", what.node_name},
               {"owner", what.owner},
               {"name", what.name},
               {"template", what.template_name},
               {"runtime", what.runtime},
               {"cpus", what.takes.cpus},
               {"memory_mb", what.takes.memory_mb},
               {"disk_gb", what.takes.disk_gb},
               {"state", to_string(what.state)},
               {"created_ms", what.created_ms},
               {"changed_ms", what.changed_ms},
               {"causes", std::move(causes)},
               {"left_out", what.left_out},
               {"cut_at", what.cut_at}});
}

result<history_record> decode_history(std::string_view sandbox,
                                      std::string_view value) {
  if (value.size() > history_bytes_most)
    value = {}; // is no JSON object either
  return reading("history", value, [&](const json& from) {
    history_record out;
    out.sandbox = sandbox;
    if (!is_valid_id(sandbox))
      throw unreadable{"id"};
    out.node = short_text_in(from, "node");
    out.node_name = short_text_in(from, "node_name");
    out.owner = short_text_in(from, "owner");
    out.name = short_text_in(from, "name");
    out.template_name = short_text_in(from, "template");
    out.runtime = short_text_in(from, "runtime");
    const auto cpus = number_in(from, "cpus");
    if (cpus > std::numeric_limits<unsigned>::max())
      throw unreadable{"cpus"};
    out.takes = {static_cast<unsigned>(cpus), number_in(from, "memory_mb"),
                 number_in(from, "disk_gb")};
    out.state = phase_in(from, "state");
    out.created_ms = time_in(from, "created_ms");
    out.changed_ms = time_in(from, "changed_ms");
    const auto causes = from.find("causes");
    if (causes == from.end() || !causes->is_array())
      throw unreadable{"causes"};
    for (const auto& each : *causes)
      out.causes.push_back(cause_in(each));
    out.left_out = number_in(from, "left_out");
    out.cut_at = number_in(from, "cut_at");
    if (out.cut_at > out.causes.size())
      throw unreadable{"cut_at"};
    return out;
  });
}

std::string encode(const past_name& what) {
  return dump({{"sandbox", what.sandbox}, {"created_ms", what.created_ms}});
}

result<past_name> decode_past_name(std::string_view value) {
  return reading("name", value, [](const json& from) {
    past_name out;
    out.sandbox = text_in(from, "sandbox");
    if (!is_valid_id(out.sandbox))
      throw unreadable{"sandbox"};
    out.created_ms = time_in(from, "created_ms");
    return out;
  });
}

} // namespace caged
