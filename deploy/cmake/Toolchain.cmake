# How every target of ours is compiled and linked.

find_program(CCACHE ccache)
if(CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  # Paths are taken relative to the source, so that every build tree shares one cache.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=8G ${CCACHE})
endif()

find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

if(TUNEFLEET_SANITIZE)
  add_compile_options(-fsanitize=${TUNEFLEET_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${TUNEFLEET_SANITIZE})
endif()

add_compile_options(-fpch-preprocess)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # g++ collects garbage less often: a fifth of the time for some hundred MB more.
  add_compile_options(--param=ggc-min-expand=1000 --param=ggc-min-heapsize=1000000)
endif()

add_library(ft_warnings INTERFACE)
add_library(ft::warnings ALIAS ft_warnings)
target_compile_options(ft_warnings INTERFACE -Wall -Wextra -Wpedantic -Werror -Winvalid-pch)
