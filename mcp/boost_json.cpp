// Boost.JSON, whose parser mcp/json_rpc.cpp uses: header-only, compiled here.
#include <boost/json/src.hpp>
