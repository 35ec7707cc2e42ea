#include "nodes/etcd/watch_stream.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace caged::etcd {

namespace {

using std::chrono::milliseconds;

constexpr std::int64_t page = 1000;
constexpr milliseconds quiet{2000};
/// Between two rounds over all members, while none has a stream for us.
constexpr milliseconds round_pause{100};
constexpr int compacted_code = 11; // OUT_OF_RANGE

refused not_understood(const failure& why) {
  return {why, false, 0};
}

} // namespace

answered<wire::ranged> list(client& with, const std::string& prefix,
                            bool keys_only) {
  const auto end = wire::range_end(prefix);
  wire::ranged out;
  for (wire::range next{prefix, end, page, 0, keys_only}; true;) {
    auto got = with.call("/v3/kv/range", wire::write(next));
    if (!got) {
      if (got.error().code != compacted_code || next.revision == 0)
        return tl::unexpected<refused>(std::move(got.error()));
      // The revision of the first page is forgotten: once more.
      out = {};
      next = {prefix, end, page, 0, keys_only};
      continue;
    }
    auto read = wire::read_range(got->body);
    if (!read)
      return tl::unexpected<refused>(not_understood(read.error()));
    if (next.revision == 0)
      out.revision = next.revision = read->revision;
    const bool more = read->more && !read->records.empty();
    std::move(read->records.begin(), read->records.end(),
              std::back_inserter(out.records));
    if (!more)
      return out;
    next.key = out.records.back().key + '\0';
  }
}

watch_stream::watch_stream(client& with, std::string prefix)
    : with_{with}, prefix_{std::move(prefix)} {}

watch_stream::~watch_stream() {
  {
    std::lock_guard guard{link_mutex_};
    if (link_)
      link_->cancel();
  }
  if (thread_.joinable())
    thread_.join();
}

result<std::shared_ptr<void>> watch_stream::add(const std::string& prefix,
                                                store::watch_handler handler) {
  // Nothing is handed on meanwhile: what was is not newer than `since`, and
  // what will be, and is newer, finds the watcher there.
  std::lock_guard guard{order_};
  auto since = begin();
  if (!since)
    return tl::unexpected<failure>(since.error());
  return watchers_.add(prefix, [after = *since, handler = std::move(handler)](
                                   const record& what, bool erased) {
    if (what.revision > after)
      handler(what, erased);
  });
}

/// The revision of now; the first time it also starts the thread, there.
result<std::int64_t> watch_stream::begin() {
  if (!thread_.joinable()) {
    auto listed = list(with_, prefix_, true);
    if (!listed)
      return tl::unexpected<failure>(std::move(listed.error().why));
    for (auto& one : listed->records)
      known_[std::move(one.key)] = one.revision;
    last_ = asked_ = listed->revision;
    thread_ = std::thread{[this] { run(); }};
    return listed->revision;
  }
  auto got = with_.call("/v3/kv/range", wire::write(wire::range{prefix_, {}}));
  if (!got)
    return tl::unexpected<failure>(std::move(got.error().why));
  auto read = wire::read_range(got->body);
  if (!read)
    return tl::unexpected<failure>(read.error());
  return read->revision;
}

void watch_stream::run() {
  auto member = with_.member();
  for (std::size_t tried = 1; !with_.stopped(); ++tried) {
    const auto before = last_;
    follow(member);
    if (compacted_) {
      relist();
      continue; // at the same member
    }
    if (last_ != before)
      tried = 1;
    member = (member + 1) % with_.members();
    if (tried % with_.members() == 0)
      with_.pause(round_pause);
  }
}

/// As long as the stream from this member is good.
void watch_stream::follow(std::size_t member) {
  auto opened = with_.open_stream(member, "/v3/watch",
                                  wire::write_watch(prefix_, last_ + 1),
                                  link_mutex_, link_);
  if (!opened) {
    if (opened.error().code == ec::denied)
      with_.forget_token();
    return;
  }
  while (!with_.stopped()) {
    auto line = link_->line(quiet);
    if (!line)
      return;
    if (*line ? !on_line(**line) : !is_fresh(member))
      return;
  }
}

/// False: the stream is at its end.
bool watch_stream::on_line(const std::string& line) {
  auto read = wire::read_watch(line);
  if (!read)
    return false;
  dispatch(std::move(read->events));
  compacted_ = read->compacted != 0;
  if (read->cancelled && !compacted_)
    with_.forget_token(); // perhaps that is why
  return !read->cancelled;
}

/// Whether to go on with a stream on which nothing came.
bool watch_stream::is_fresh(std::size_t member) {
  auto got =
      with_.ask(member, "/v3/kv/range", wire::write(wire::range{prefix_, {}}));
  if (!got)
    return false;
  auto read = wire::read_range(*got);
  if (!read)
    return false;
  // Its events may be on their way; then they come again and are passed over.
  const bool behind = read->revision > std::max(last_, asked_);
  asked_ = std::max(asked_, read->revision);
  return !behind;
}

void watch_stream::relist() {
  compacted_ = false;
  auto listed = list(with_, prefix_);
  if (!listed)
    return with_.pause(round_pause); // the watch says again that it has to be
  std::vector<wire::event> events;
  std::map<std::string, std::int64_t> now;
  for (auto& one : listed->records) {
    now[one.key] = one.revision;
    if (const auto at = known_.find(one.key);
        at == known_.end() || at->second != one.revision)
      events.push_back({std::move(one), false});
  }
  std::stable_sort(events.begin(), events.end(),
                   [](const auto& a, const auto& b) {
                     return a.what.revision < b.what.revision;
                   });
  for (const auto& [key, _] : known_)
    if (now.count(key) == 0)
      events.push_back({{key, {}, listed->revision}, true});
  dispatch(std::move(events));
  last_ = std::max(last_, listed->revision);
}

/// Passes over what was seen: revisions up to last_, which come whole.
void watch_stream::dispatch(std::vector<wire::event> events) {
  std::vector<store_watchers::change> changes;
  auto newest = last_;
  for (auto& one : events) {
    auto& what = one.what;
    if (what.revision <= last_ || !what.key.starts_with(prefix_))
      continue;
    newest = std::max(newest, what.revision);
    if (one.erased)
      known_.erase(what.key);
    else
      known_[what.key] = what.revision;
    what.key.erase(0, prefix_.size());
    if (one.erased)
      what.value.clear();
    changes.emplace_back(std::move(what), one.erased);
  }
  last_ = newest;
  if (changes.empty())
    return;
  std::lock_guard guard{order_};
  watchers_.changed(std::move(changes));
}

} // namespace caged::etcd
