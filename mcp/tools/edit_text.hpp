#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "mcp/tools/file_diff.hpp"
#include "messages/error.hpp"

namespace caged::mcp {

/// One exact replacement in a text.
struct text_edit {
  std::string old_text, new_text;
  bool replace_all = false;
  std::optional<std::int64_t> expected; ///< All, and exactly so many.
};

/// Replaces in `text` and notes it in `changes`; how many were replaced. On an
/// error nothing is changed: bad_request (empty or equal texts), not_found
/// (with the lines that come near), ambiguous (with the lines where it is),
/// too_large (`size_most` bytes, 100,000 places).
///
/// Line ends: where all of the text's are CRLF, LF in both texts of the edit
/// means CRLF; where some are, that is tried when the texts as they are do not
/// occur. CRLF of an edit in a text without any means LF.
result<std::size_t> apply_edit(std::string& text, const text_edit& edit,
                               const std::string& path, std::size_t size_most,
                               change_map& changes);

} // namespace caged::mcp
