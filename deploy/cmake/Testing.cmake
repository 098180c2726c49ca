# ft_test(name SOURCES a_test.cpp … LIBRARIES ft::x … [LABELS unit|redis|multiprocess|gpu] [TIMEOUT s])
# One GoogleTest program; each of its tests is a CTest test. {PROJECT_SOURCE_DIR} is the working directory.
find_package(GTest REQUIRED)
include(GoogleTest)

function(ft_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main ft::warnings)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  # Tests of several processes measure how soon something is noticed: nothing else runs beside them.
  set(alone FALSE)
  if(multiprocess IN_LIST ARG_LABELS)
    set(alone TRUE)
  endif()
  gtest_discover_tests(
    ${name}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT} ENVIRONMENT "${ARG_ENVIRONMENT}" RUN_SERIAL ${alone})
endfunction()

# The same for a program with torch: it shares the precompiled header, and is one CTest test, since torch takes half a second
# to start.
if(TUNEFLEET_TORCH)
  # Tensors and gmock, precompiled together.
  add_library(ft_torch_test_pch OBJECT ${PROJECT_SOURCE_DIR}/tuners/torch_pch.cpp)
  target_link_libraries(ft_torch_test_pch PUBLIC ft_torch GTest::gmock PRIVATE ft::warnings)
  target_include_directories(ft_torch_test_pch PUBLIC ${PROJECT_SOURCE_DIR})
  target_precompile_headers(ft_torch_test_pch PRIVATE ${torch_pch_headers} <gmock/gmock.h> <gtest/gtest.h>)
endif()

function(ft_torch_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 180)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_precompile_headers(${name} REUSE_FROM ft_torch_test_pch)
  # The header was compiled for position-independent libraries; an executable's -fPIE would not match it.
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF RUNTIME_OUTPUT_DIRECTORY
                                                                         ${PROJECT_BINARY_DIR}/tests)
  target_compile_options(${name} PRIVATE -fPIC)
  target_link_libraries(${name} PRIVATE ft_torch ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main ft::warnings)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  # Torch's threads wait for each other by spinning: beside another program they would take many times as long.
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT} ENVIRONMENT "${ARG_ENVIRONMENT}"
                                          PROCESSORS 2)
endfunction()
