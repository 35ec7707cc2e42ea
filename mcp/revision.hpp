#pragma once

#include <optional>
#include <string_view>

namespace caged::mcp {

/// The revisions of the protocol, oldest first. What changed between them is in
/// docs/specification/REVISION/changelog.mdx of the repository
/// modelcontextprotocol/modelcontextprotocol.
enum class revision {
  r2024_11_05,
  r2025_03_26, ///< Annotations, audio, batches (and only here).
  r2025_06_18, ///< Titles, output schemas, resource links.
  r2025_11_25,
  r2026_07_28, ///< No handshake, no session: every request tells its revision.
};

constexpr bool has_batches(revision r) {
  return r == revision::r2025_03_26;
}
constexpr bool has_annotations(revision r) {
  return r >= revision::r2025_03_26;
}
constexpr bool has_audio(revision r) {
  return r >= revision::r2025_03_26;
}
constexpr bool has_titles(revision r) {
  return r >= revision::r2025_06_18;
}
constexpr bool has_structured(revision r) {
  return r >= revision::r2025_06_18;
}
constexpr bool has_links(revision r) {
  return r >= revision::r2025_06_18;
}
constexpr bool is_modern(revision r) {
  return r >= revision::r2026_07_28;
}

/// "2025-06-18" and the like.
std::string_view to_string(revision r) noexcept;
std::optional<revision> revision_from(std::string_view text) noexcept;

} // namespace caged::mcp
