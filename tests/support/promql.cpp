#include "tests/support/promql.hpp"

#include <cctype>
#include <set>
#include <stdexcept>

namespace caged::test {

namespace {

bool begins_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'
         || c == ':';
}
bool in_name(char c) {
  return begins_name(c) || std::isdigit(static_cast<unsigned char>(c)) != 0;
}

/// prometheus.io/docs/prometheus/latest/querying/operators/
const std::set<std::string, std::less<>> words = {
    "and", "or", "unless", "bool", "offset", "inf", "nan", "atan2",
    // Their labels may come before what they aggregate: sum by (a) (b).
    "sum", "min", "max", "avg", "group", "stddev", "stdvar", "count",
    "count_values", "bottomk", "topk", "quantile"};
const std::set<std::string, std::less<>> before_labels = {
    "by", "without", "on", "ignoring", "group_left", "group_right"};

class reader {
public:
  explicit reader(std::string_view text) : text_{text} {}

  std::vector<series_selector> all() {
    std::vector<series_selector> out;
    while (skip_space()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        string();
      } else if (c == '[') {
        skip_to(']');
      } else if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
        while (at_ < text_.size() && (in_name(text_[at_]) || text_[at_] == '.'))
          ++at_; // 0.5, 1e9, 5m
      } else if (begins_name(c)) {
        const auto word = name();
        if (before_labels.contains(word)) {
          if (peek() == '(')
            skip_to(')');
        } else if (!words.contains(word) && peek() != '(') {
          out.push_back({word, peek() == '{' ? matchers()
                                             : std::vector<label_matcher>{}});
        }
      } else if (c == '{') {
        fail("a selector without the name of a metric");
      } else {
        ++at_;
      }
    }
    return out;
  }

private:
  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error{why + " in " + std::string{text_}};
  }
  bool skip_space() {
    while (at_ < text_.size()
           && std::isspace(static_cast<unsigned char>(text_[at_])) != 0)
      ++at_;
    return at_ < text_.size();
  }
  char peek() { return skip_space() ? text_[at_] : '\0'; }
  void skip_to(char end) {
    at_ = text_.find(end, at_);
    if (at_ == text_.npos)
      fail(std::string{"no "} + end);
    ++at_;
  }
  std::string name() {
    const auto begin = at_;
    while (at_ < text_.size() && in_name(text_[at_]))
      ++at_;
    return std::string{text_.substr(begin, at_ - begin)};
  }
  std::string string() {
    const char quote = text_[at_++];
    std::string out;
    for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (text_[at_] == '\\')
        ++at_;
      if (at_ < text_.size())
        out += text_[at_];
    }
    if (at_ == text_.size())
      fail("no end of a string");
    ++at_;
    return out;
  }
  std::vector<label_matcher> matchers() {
    std::vector<label_matcher> out;
    ++at_;
    while (peek() != '}') {
      label_matcher one;
      if (!begins_name(peek()))
        fail("no label");
      one.label = name();
      while (peek() == '=' || peek() == '!' || peek() == '~')
        one.op += text_[at_++];
      if (one.op.empty() || (peek() != '"' && peek() != '\''))
        fail("no value of the label " + one.label);
      one.value = string();
      out.push_back(std::move(one));
      if (peek() == ',')
        ++at_;
    }
    ++at_;
    return out;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

} // namespace

std::vector<series_selector> selectors_of(std::string_view expression) {
  return reader{expression}.all();
}

} // namespace caged::test
