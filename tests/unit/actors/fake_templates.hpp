#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/template_store.hpp"
#include "messages/limits.hpp"

namespace caged::fakes {

/// Templates whose archives are strings.
class memory_templates : public template_store {
public:
  std::map<std::string, std::string> there;   ///< name -> archive
  std::map<std::string, std::string> partial; ///< name@digest -> what has come
  std::vector<std::uint64_t> reads;           ///< offsets that were asked for
  std::size_t packed = 0;                     ///< asked what there is
  bool damages = false;                       ///< every piece that it gives
  bool lies = false;                          ///< about the digest of the whole
  std::optional<failure> no_room;             ///< for what comes

  static std::string digest(const std::string& of) {
    auto out = std::to_string(std::hash<std::string>{}(of));
    out.resize(64, '0');
    return out;
  }

  std::vector<std::string> list() const override {
    std::vector<std::string> out = {"minimal"};
    for (const auto& [name, _] : there)
      out.push_back(name);
    return out;
  }
  bool has(const std::string& name) const override {
    return name == "minimal" || there.contains(name);
  }
  result<api::template_chunk> read(const api::template_read& what) override {
    const auto at = there.find(what.template_name);
    if (at == there.end())
      return fail(ec::not_found, "there is no template");
    api::template_chunk out;
    out.digest = lies ? std::string(64, 'a') : digest(at->second);
    out.size = at->second.size();
    if (what.digest.empty()) {
      ++packed;
      return out;
    }
    if (what.digest != out.digest)
      return fail(ec::conflict, "it has changed");
    reads.push_back(what.offset);
    out.offset = what.offset;
    out.bytes = at->second.substr(what.offset, limits::frame_max);
    out.bytes_digest = digest(out.bytes);
    if (damages)
      out.bytes[0] = '!';
    return out;
  }
  result<std::uint64_t> begin(const std::string& name,
                              const template_archive& what) override {
    if (no_room)
      return tl::unexpected<failure>(*no_room);
    return partial[name + "@" + what.digest].size();
  }
  result<void> append(const std::string& name, const template_archive& what,
                      const api::template_chunk& piece) override {
    auto& to = partial[name + "@" + what.digest];
    if (digest(piece.bytes) != piece.bytes_digest || to.size() != piece.offset)
      return fail(ec::malformed, "a piece came damaged");
    to += piece.bytes;
    return {};
  }
  result<void> install(const std::string& name,
                       const template_archive& what) override {
    auto all = std::move(partial[name + "@" + what.digest]);
    partial.erase(name + "@" + what.digest);
    if (digest(all) != what.digest)
      return fail(ec::malformed, "the whole came damaged");
    there[name] = std::move(all);
    return {};
  }
};

} // namespace caged::fakes
