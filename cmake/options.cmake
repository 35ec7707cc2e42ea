# Flags of every target of ours live in one INTERFACE target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

set(CAGED_SANITIZE "" CACHE STRING "Sanitizers, comma separated, as -fsanitize= takes them")
option(CAGED_FUZZ "Build the libFuzzer targets (needs clang)" OFF)

# ccache with paths relative to the source folder, so that a fresh clone in
# another folder (CI) finds what an earlier one compiled. No precompiled
# headers: a file with CAF takes 3-4 s in all, and ccache with them has to be told
# to ignore time stamps.
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE_PROGRAM})
endif()

add_library(caged_options INTERFACE)
target_include_directories(caged_options INTERFACE
  "${CMAKE_SOURCE_DIR}" "${CMAKE_BINARY_DIR}/generated")
target_compile_options(caged_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fno-strict-aliasing
  -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False positives of g++ 12: CAF and enums at -O2, Beast coroutines.
  target_compile_options(caged_options INTERFACE
    -Wno-maybe-uninitialized -Wno-mismatched-new-delete
    $<$<CONFIG:Release>:-Wno-restrict>)
endif()
if(CAGED_SANITIZE)
  # -fno-sanitize=null: spawning a function without arguments trips that check
  # inside CAF's own headers.
  target_compile_options(caged_options INTERFACE
    -fsanitize=${CAGED_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  if(CAGED_SANITIZE MATCHES "thread")
    # Asio has fences around its handlers, which the sanitizer does not know.
    target_compile_options(caged_options INTERFACE -Wno-tsan)
  endif()
  if(CAGED_SANITIZE MATCHES "undefined")
    target_compile_options(caged_options INTERFACE -fno-sanitize=null)
  endif()
  target_link_options(caged_options INTERFACE -fsanitize=${CAGED_SANITIZE})
endif()

configure_file("${CMAKE_SOURCE_DIR}/cmake/version.hpp.in"
               "${CMAKE_BINARY_DIR}/generated/caged_version.hpp" @ONLY)
