#include "mcp/tool.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "messages/text.hpp"

namespace caged::mcp {

tool_result tool_error(const failure& why) {
  tool_result out;
  out.text = why.message;
  if (!why.hint.empty())
    out.text += "\nHint: " + why.hint;
  out.is_error = true;
  return out;
}

void tool_set::add(tool t) {
  [[maybe_unused]] auto [at, fresh] = index_.emplace(t.name, tools_.size());
  assert(fresh);
  tools_.push_back(std::move(t));
}

const tool* tool_set::find(std::string_view name) const {
  auto at = index_.find(name);
  return at == index_.end() ? nullptr : &tools_[at->second];
}

arguments::arguments(const json& object) : object_{object} {
  if (!object.is_object())
    wrong_ = failure{ec::bad_request, "arguments must be an object", {}};
}

const json* arguments::find(std::string_view name) const {
  known_.emplace_back(name);
  if (!object_.is_object())
    return nullptr;
  auto at = object_.find(name);
  // null stands for "absent": several clients send it for what is optional.
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

void arguments::refuse(std::string_view name, std::string accepted) const {
  if (!wrong_)
    wrong_ =
        failure{ec::bad_request,
                "argument " + caged::quoted(name) + " must be " + accepted,
                "call the tool again with " + std::string{name} + " corrected"};
}

bool arguments::has(std::string_view name) const {
  return find(name) != nullptr;
}

std::optional<std::string>
arguments::optional_text(std::string_view name) const {
  const auto* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_string()) {
    refuse(name, "a string");
    return std::nullopt;
  }
  return value->get_ref<const std::string&>();
}

std::string arguments::text(std::string_view name) const {
  auto value = optional_text(name);
  if (!value && !wrong_)
    wrong_ = failure{ec::bad_request,
                     "argument " + caged::quoted(name) + " is missing",
                     "call the tool again with " + std::string{name}};
  return std::move(value).value_or(std::string{});
}

std::string arguments::text(std::string_view name, std::string fallback) const {
  return optional_text(name).value_or(std::move(fallback));
}

std::optional<std::int64_t>
arguments::optional_integer(std::string_view name, std::int64_t least,
                            std::int64_t most) const {
  const auto* value = find(name);
  if (value == nullptr)
    return std::nullopt;
  const auto accepted = "an integer from " + std::to_string(least) + " to "
                        + std::to_string(most);
  std::int64_t number = 0;
  if (value->is_number_unsigned()) {
    const auto big = value->get<std::uint64_t>();
    if (big > static_cast<std::uint64_t>(INT64_MAX)) {
      refuse(name, accepted);
      return std::nullopt;
    }
    number = static_cast<std::int64_t>(big);
  } else if (value->is_number_integer()) {
    number = value->get<std::int64_t>();
  } else if (value->is_number_float()) {
    const auto real = value->get<double>();
    if (!std::isfinite(real) || real != std::floor(real)
        || std::fabs(real) > 9e15) {
      refuse(name, accepted);
      return std::nullopt;
    }
    number = static_cast<std::int64_t>(real);
  } else {
    refuse(name, accepted);
    return std::nullopt;
  }
  if (number < least || number > most) {
    refuse(name, accepted + ", not " + std::to_string(number));
    return std::nullopt;
  }
  return number;
}

std::int64_t arguments::integer(std::string_view name, std::int64_t least,
                                std::int64_t most,
                                std::int64_t fallback) const {
  return optional_integer(name, least, most).value_or(fallback);
}

double arguments::number(std::string_view name, double least, double most,
                         double fallback) const {
  const auto* value = find(name);
  if (value == nullptr)
    return fallback;
  const auto real = value->is_number() ? value->get<double>() : NAN;
  if (!std::isfinite(real) || real < least || real > most) {
    refuse(name,
           "a number from " + json(least).dump() + " to " + json(most).dump());
    return fallback;
  }
  return real;
}

bool arguments::flag(std::string_view name, bool fallback) const {
  const auto* value = find(name);
  if (value == nullptr)
    return fallback;
  if (!value->is_boolean()) {
    refuse(name, "true or false");
    return fallback;
  }
  return value->get<bool>();
}

std::vector<std::string> arguments::texts(std::string_view name) const {
  const auto* value = find(name);
  if (value == nullptr)
    return {};
  if (value->is_string())
    return {value->get<std::string>()};
  std::vector<std::string> out;
  if (value->is_array())
    for (const auto& item : *value) {
      if (!item.is_string())
        break;
      out.push_back(item.get<std::string>());
    }
  if (!value->is_array() || out.size() != value->size())
    refuse(name, "an array of strings");
  return out;
}

std::map<std::string, std::string>
arguments::text_map(std::string_view name) const {
  const auto* value = find(name);
  if (value == nullptr)
    return {};
  std::map<std::string, std::string> out;
  if (value->is_object())
    for (const auto& [key, item] : value->items()) {
      if (!item.is_string())
        break;
      out.emplace(key, item.get<std::string>());
    }
  if (!value->is_object() || out.size() != value->size())
    refuse(name, "an object whose values are strings");
  return out;
}

std::string arguments::choice(std::string_view name,
                              const std::vector<std::string>& choices,
                              std::string fallback) const {
  auto value = optional_text(name);
  if (!value)
    return fallback;
  if (std::find(choices.begin(), choices.end(), *value) != choices.end())
    return *value;
  std::string all;
  for (const auto& each : choices)
    all += (all.empty() ? "" : ", ") + each;
  refuse(name, "one of " + all + ", not " + caged::quoted(*value));
  return fallback;
}

namespace {

bool has_nul(const json& value) {
  if (value.is_string())
    return value.get_ref<const std::string&>().find('\0') != std::string::npos;
  if (value.is_structured())
    return std::any_of(value.begin(), value.end(), has_nul);
  return false;
}

} // namespace

result<void> arguments::done() const {
  if (wrong_)
    return tl::unexpected(*wrong_);
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end())
      return fail(ec::bad_request, "there is no argument " + caged::quoted(key),
                  known_.empty()
                      ? "this tool takes none"
                      : "did you mean " + nearest(key, known_) + "?");
    // "content" may hold any text that JSON can carry.
    if (key != "content" && has_nul(value))
      return fail(ec::bad_request,
                  "argument " + caged::quoted(key) + " holds a NUL",
                  "leave it out: paths and commands cannot have one");
  }
  return {};
}

} // namespace caged::mcp
